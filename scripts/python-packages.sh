# Sourced: python_packages NAME REQUIREMENT… makes .cache/NAME an environment that has exactly these
# packages, once, and puts its programs first on the PATH.
python_packages() {
    local environment=$PWD/.cache/$1
    shift
    if ! grep -qsxF "$*" "$environment/.complete"; then
        rm -rf "$environment"
        python3 -m venv "$environment"
        "$environment/bin/pip" install --quiet --disable-pip-version-check "$@"
        echo "$*" > "$environment/.complete"
    fi
    PATH=$environment/bin:$PATH
}
