#!/usr/bin/env bash
# zensical 0.0.73: a site built with the plugin `offline` asks another host for a script; without the plugin it asks none.
#
# The plugin is meant for sites that are read from files, without a network: it puts the search index into a script. It also
# puts a `<script src="https://unpkg.com/…">` into every page, so that reading the site tells a third party of it, and a page
# behind a policy that allows no other host runs into that. `plugins: [search]` alone, with `theme.font: false` and
# `use_directory_urls: false`, leaves no address of another host that is loaded; search then works from a server only.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check zensical==0.0.73 2>/dev/null

mkdir -p "$work/site/docs"
printf '# Hello\n\nWords.\n' >"$work/site/docs/index.md"
cd "$work/site"

loaded() {
    cat >mkdocs.yml <<YAML
site_name: Example
use_directory_urls: false
theme: {name: material, font: false}
extra: {generator: false}
plugins: [$1]
YAML
    rm -rf site
    "$work/venv/bin/zensical" build -f mkdocs.yml >/dev/null 2>&1
    grep -oE '<(script|link)[^>]* (src|href)="https?://[^"/]*' site/index.html | grep -oE '[^/"]*$' || true
}

"$work/venv/bin/zensical" --version
search=$(loaded search)
offline=$(loaded "search, offline")
echo "plugins: [search]: other hosts in index.html: ${search:-none}"
echo "plugins: [search, offline]: other hosts in index.html: ${offline:-none}"
[[ -z "$search" && "$offline" == unpkg.com ]]
