#!/bin/sh
# Prints the Python that `make` uses, or says what is missing.
#
# PYTHON is used if it is given. Otherwise it is python3, which is the one that somebody chose for this machine or this
# shell (a package manager, pyenv, an activated environment). The newest other one is used only where that is too old.
# `python.sh all` prints every installed Python that fits, one for each minor version: `3.13 /path/to/python`.

OLDEST=11

# Tell whether a command is a Python that fits.
fits() {
    "$1" -c "import sys; sys.exit(sys.version_info < (3, $OLDEST))" 2>/dev/null
}

# Print the Python of minor version $1 if there is one. The commands of pyenv answer for its activated versions only.
find_minor() {
    for candidate in "python3.$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$1".*/bin/python3; do
        if fits "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
}

# Print `3.N PATH` for each Python that fits, newest first.
list_all() {
    minor=40
    while [ $((minor -= 1)) -ge $OLDEST ]; do
        path=$(find_minor $minor)
        [ -n "$path" ] && echo "3.$minor $path"
    done
}

case $(uname -s) in
MINGW* | MSYS* | CYGWIN*)
    echo "Scimlink runs on Linux and macOS. On Windows, install WSL (wsl --install) and run make in there." >&2
    exit 1
    ;;
esac
if [ "$1" = all ]; then
    list_all
    exit
fi
chosen=${PYTHON:-python3}
if fits "$chosen"; then
    echo "$chosen"
    exit
fi
if [ -z "$PYTHON" ]; then
    newest=$(list_all | head -n 1 | cut -d ' ' -f 2-)
    if [ -n "$newest" ]; then
        echo "$newest"
        exit
    fi
fi
found=$("$chosen" --version 2>/dev/null) || found="not a Python that runs"
cat >&2 <<END
Scimlink needs Python 3.$OLDEST or newer, and $chosen is $found.
Install one (macOS: brew install python; Debian, Ubuntu: apt install python3 python3-venv; or from python.org),
or name one that is installed: make PYTHON=/path/to/python3
END
exit 1
