"""All experiments by name. A new one is a file of `families/` and an entry here."""

from probes.experiments.experiment import Experiment
from probes.experiments.families import (
    adaptation,
    calibration,
    choose_layer,
    compare_heads,
    data_efficiency,
    generalisation,
    length,
    pca,
    roc,
    sets,
    twins,
)

EXPERIMENTS: dict[str, Experiment] = {
    one.name: one
    for one in (
        compare_heads.EXPERIMENT,
        choose_layer.EXPERIMENT,
        sets.EXPERIMENT,
        roc.EXPERIMENT,
        calibration.EXPERIMENT,
        length.EXPERIMENT,
        generalisation.EXPERIMENT,
        data_efficiency.EXPERIMENT,
        adaptation.EXPERIMENT,
        twins.PROBING,
        twins.DEPLOYMENT,
        pca.EXPERIMENT,
    )
}
