#!/bin/sh
# Build the wheel, install it in a clean environment away from the sources, and run the examples against it.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=$(cd "$root" && command -v "$PYTHON")
case $python in /*) ;; *) python=$root/$python ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git -C "$root" archive HEAD | tar -x -C "$(mkdir -p "$work/source" && echo "$work/source")"
"$python" -m build --outdir "$work/dist" "$work/source" > "$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" "$work"/dist/*.whl
cp -r "$root/examples" "$work/examples"
# every folder with an __init__.py is a package: modules/routers is sma.modules.routers
packages=$(cd "$work/source" && find sma modules architectures integrations training -name __init__.py |
    sed -e 's|/__init__.py$||' -e 's|^integrations/||' -e 's|/|.|g' -e '/^sma/!s|^|sma.|' | sort)
cd "$work/examples"
for package in $packages; do
    case $package in sma.testing* | sma.training.cli | sma.transformers*) continue ;; esac  # they need extras
    "$work/venv/bin/python" -c "import $package" || { echo "the wheel lacks $package"; exit 1; }
done
"$work/venv/bin/python" -c "from importlib.util import find_spec; assert find_spec('sma.testing') and find_spec('sma.transformers')"
"$work/venv/bin/python" -c "import sma.transformers" 2>&1 | grep -q "sparse-modular-activation\[transformers\]"
"$work/venv/bin/sma" --help 2>&1 | grep -q "sparse-modular-activation\[command\]"
wheel=$(echo "$work"/dist/*.whl)
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" "$wheel[command,tasks]"
"$work/venv/bin/sma" --help > /dev/null
for example in *.py; do
    echo "examples/$example"
    case $example in wordnet.py) arguments=--help ;; *) arguments= ;; esac  # it needs data, and minutes
    "$work/venv/bin/python" "$example" $arguments > "$work/example.log" 2>&1 || { cat "$work/example.log"; exit 1; }
done
for spec in *.yaml; do
    "$work/venv/bin/sma" describe "$spec" > "$work/example.log" 2>&1 || { cat "$work/example.log"; exit 1; }
done
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check ./plugin
"$work/venv/bin/sma" train --spec plugin/model.yaml --steps 2 --length 32 --out "$work/runs" \
    > "$work/example.log" 2>&1 || { cat "$work/example.log"; exit 1; }
"$work/venv/bin/sma" inspect "$work"/runs/* --rows 2 --example 0 --flips 1 \
    > "$work/example.log" 2>&1 || { cat "$work/example.log"; exit 1; }
echo "the wheel works outside the source tree, and so does a plug-in"
