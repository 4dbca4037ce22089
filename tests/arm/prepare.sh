#!/bin/sh
# Aarch64 Python in a folder of an x86-64 machine with Debian 12, under qemu-user: nothing is installed on the machine,
# and no chroot, binfmt or root is needed. What is there already is not fetched again. Then:
#
#   PYTHONPATH=FOLDER/site FOLDER/python -m pytest …
#
# usage: prepare.sh FOLDER PYTHON WHEEL REQUIREMENT…    PYTHON runs on this machine and has pip
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
python=$(cd "$(dirname "$2")" && pwd)/$(basename "$2") # not its target, which has no packages of the environment
wheel=$(realpath "$3")
shift 3
version=3.11 # of Debian 12
root=$folder/root
apt=$folder/apt

# apt with its own state, which knows packages for arm64 from the machine's sources.
get() {
    apt-get --quiet=2 -o Dir="$apt" -o Dir::State::status="$apt/var/lib/dpkg/status" \
        -o APT::Architecture=arm64 -o APT::Architectures=arm64 "$@"
}

if [ ! -e "$folder/ready" ]; then
    mkdir -p "$folder/debs" "$root" "$apt/etc/apt/preferences.d" "$apt/var/lib/apt/lists/partial" \
        "$apt/var/lib/dpkg" "$apt/var/cache/apt/archives/partial"
    for each in sources.list sources.list.d trusted.gpg.d apt.conf.d; do
        [ ! -e "/etc/apt/$each" ] || cp -rL "/etc/apt/$each" "$apt/etc/apt/"
    done
    touch "$apt/var/lib/dpkg/status"
    cd "$folder/debs"
    apt-get --quiet=2 download qemu-user-static
    dpkg --fsys-tarfile qemu-user-static_*.deb | tar -x -C "$folder" --strip-components 3 ./usr/bin/qemu-aarch64-static
    rm qemu-user-static_*.deb
    get update
    get download python$version python$version-minimal libpython$version-minimal libpython$version-stdlib \
        dash coreutils libbz2-1.0 libc6 libcrypt1 libdb5.3 libexpat1 libffi8 libgcc-s1 liblzma5 libncursesw6 libnsl2 \
        libreadline8 libsqlite3-0 libssl3 libstdc++6 libtinfo6 libtirpc3 libuuid1 zlib1g
    for each in *.deb; do
        dpkg -x "$each" "$root"
    done
    # With -0, sys.executable is this script, so that the child processes of tests are emulated, too.
    cat > "$folder/python" << END
#!/bin/sh
exec "$folder/qemu-aarch64-static" -L "$root" -0 "$folder/python" "$root/usr/bin/python$version" "\$@"
END
    chmod +x "$folder/python"
    touch "$folder/ready"
fi

install() {
    "$python" -m pip install --quiet --disable-pip-version-check --target "$folder/site" --upgrade \
        --python-version $version --implementation cp --only-binary=:all: \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
        --platform manylinux2014_aarch64 "$@"
}
[ -e "$folder/site/pytest" ] || install "$@" "$wheel"
install --no-deps "$wheel"
PYTHONPATH="$folder/site" "$folder/python" -c \
    'import platform, numpy; print(platform.machine(), platform.python_version(), numpy.__version__)'
