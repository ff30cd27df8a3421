"""Uploads to the Hugging Face hub, and what it answers as one line of this suite."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def hub_errors(repo: str, kind: type[Exception], *, option: str = "", then: str) -> Iterator[None]:
    """Raise as `kind` what the hub, or the way to it, objects to in the block.

    Args:
        repo: Name of the repository.
        kind: Class of the error, made of one line.
        option: What named the repository, at the beginning of the line.
        then: What to do once one is logged in, and what is safe meanwhile.
    """
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    begin = f"{option}: " if option else ""
    try:
        yield
    except HFValidationError as error:
        raise kind(f"{begin}{repo!r} is no name of a repository: {error}") from error
    except (HfHubHTTPError, LocalTokenNotFoundError, httpx.HTTPError, ConnectionError) as error:
        raise kind(
            f"{begin}{repo}: {error}. Log in with `hf auth login` (a token that may write), and {then}"
        ) from error


def upload_folder(
    api: Any,
    folder: Path | str,
    repo: str,
    *,
    private: bool,
    message: str,
    kind: type[Exception],
    is_public: str,
) -> str:
    """Upload a folder as a model; returns the address of the repository. To be called within `hub_errors`.

    Args:
        api: An `HfApi`.
        folder: What is uploaded, whole.
        repo: `user/name` on the hub; made if it is not there.
        private: Only its owner sees it. A repository that is there and public is then refused.
        message: Of the commit.
        kind: Class of the error for a public one.
        is_public: What that error says after the repository's name.
    """
    made = api.create_repo(repo, private=private, exist_ok=True, repo_type="model")
    if private and not api.repo_info(made.repo_id, repo_type="model").private:
        raise kind(f"{repo} {is_public}")
    api.upload_folder(
        repo_id=made.repo_id, folder_path=str(folder), repo_type="model", commit_message=message
    )
    return str(made)
