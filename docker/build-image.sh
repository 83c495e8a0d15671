#!/usr/bin/env bash
# What `make image` runs: builds docker/Dockerfile where there is no registry of base images and no docker daemon, then runs the
# image and reads a feature from it.
#
#   1. base   a minimal Debian with its Python, made by debootstrap from the Debian mirror this machine uses (kept in
#             .cache/image/ for the next time; remove it to make it anew)
#   2. build  buildah, which needs neither daemon nor network namespace here (chroot isolation, vfs storage)
#   3. run    the image's root, mounted read-only in namespaces of its own, as the image's user without capabilities
#
# Needs root, for chroot and mounts. Package mirrors, indexes and certificates are taken from this machine's apt and pip
# configuration and passed as build secrets, so none of them is in the image.
#
# Settings: IMAGE (name and tag), BASE_IMAGE (build from this image instead of making a base), DEBIAN_MIRROR.
set -euo pipefail
cd "$(dirname "$0")/.."

RELEASE=bookworm
LOCAL_BASE=localhost/featurestore-base:$RELEASE
CACHE=$PWD/.cache/image
IMAGE=${IMAGE:-localhost/featurestore:local}

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'build-image.sh: %s\n' "$*" >&2; exit 1; }
builder() { buildah --root "$CACHE/storage" --runroot "$CACHE/run" --storage-driver vfs "$@"; }

# ------------------------------------------------------------------------------------------------------------- what it needs
[ "$(id -u)" = 0 ] || fail "needs root for chroot and mounts: sudo make image"
missing=()
for need in buildah:buildah debootstrap:debootstrap unshare:util-linux nsenter:util-linux ip:iproute2 openssl:openssl; do
    command -v "${need%%:*}" > /dev/null || missing+=("${need#*:}")
done
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get > /dev/null || fail "missing packages, by Debian's names: ${missing[*]}; install them first"
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
fi
mkdir -p "$CACHE"
secrets=$(mktemp -d)
container=
cleanup() {
    [ -z "$container" ] || builder rm "$container" > /dev/null
    rm -rf "$secrets"
}
trap cleanup EXIT

# ---------------------------------------------------------------------------------------------------------------------- base
# The Debian sources of this machine for the release, security updates among them: "uri suite component", one a line.
debian_sources() {
    # shellcheck disable=SC2016 # apt-get's own placeholders
    apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)' 'Identifier: Packages' 2> /dev/null |
        awk -v release="$RELEASE" '$4 == "Debian" && $2 ~ "^" release && $3 == "main" {print $1, $2, $3}' | sort -u
}

make_base() {
    local root mirror sources
    root=$CACHE/base
    sources=$(debian_sources || true)
    mirror=${DEBIAN_MIRROR:-$(awk -v release="$RELEASE" '$2 == release {print $1; exit}' <<< "$sources")}
    rm -rf --one-file-system "$root"
    # Without a mirror, debootstrap has its own default.
    debootstrap --variant=minbase --include=ca-certificates,python3 "$RELEASE" "$root" ${mirror:+"$mirror"} \
        > "$CACHE/debootstrap.log" 2>&1 ||
        { tail -n 20 "$CACHE/debootstrap.log" >&2; fail "debootstrap failed; its log is $CACHE/debootstrap.log"; }
    if [ -n "$sources" ] && [ -z "${DEBIAN_MIRROR:-}" ]; then
        awk '{print "deb", $1, $2, $3}' <<< "$sources" > "$root/etc/apt/sources.list"
        cp /etc/resolv.conf "$root/etc/resolv.conf"
        chroot "$root" apt-get update -qq
        DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get upgrade -y -qq > "$CACHE/upgrade.log" 2>&1 ||
            { tail -n 20 "$CACHE/upgrade.log" >&2; fail "apt-get upgrade failed in the base; its log is $CACHE/upgrade.log"; }
    fi
    # The name and the resolver of this machine, which debootstrap copies: whoever runs an image brings their own.
    rm -f "$root/etc/hostname" "$root/etc/resolv.conf"
    # What slim base images leave out as well. The copyright files stay.
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/{man,info,lintian}/*
    find "$root/usr/share/locale" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
    find "$root/usr/share/doc" -type f ! -name copyright -delete
    find "$root/usr/share/doc" -type l ! -name copyright -delete
    local scratch
    scratch=$(builder from scratch)
    builder add --quiet "$scratch" "$root" / > /dev/null
    builder config --cmd /bin/bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$scratch"
    builder commit --quiet --rm "$scratch" "$LOCAL_BASE" > /dev/null
    rm -rf --one-file-system "$root"
}

pull=--pull
if [ -z "${BASE_IMAGE:-}" ]; then
    BASE_IMAGE=$LOCAL_BASE
    pull=--pull-never
    if builder inspect --type image "$LOCAL_BASE" > /dev/null 2>&1; then
        say "base: $LOCAL_BASE, made before (remove $CACHE to make it anew)"
    else
        say "base: making $LOCAL_BASE by debootstrap"
        make_base
    fi
fi

# --------------------------------------------------------------------------------------------------------------------- build
# The part of this machine's pip configuration that means something elsewhere: indexes on the network, not paths.
python3 -m pip config list 2> /dev/null | python3 docker/pip_configuration.py > "$secrets/pip.conf"
certificates=${PIP_CERT:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
: > "$secrets/ca-certificates"
[ ! -r "$certificates" ] || cp "$certificates" "$secrets/ca-certificates"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)
revision=$(git describe --always --abbrev=40 --exclude '*' --dirty 2> /dev/null || echo unknown)
say "build: $IMAGE, version $version, revision $revision"
builder bud --isolation chroot --format docker "$pull" --file docker/Dockerfile --tag "$IMAGE" \
    --build-arg BASE_IMAGE="$BASE_IMAGE" --build-arg VERSION="$version" --build-arg REVISION="$revision" \
    --secret id=pip.conf,src="$secrets/pip.conf" --secret id=ca-certificates,src="$secrets/ca-certificates" .
builder rmi --prune > /dev/null # the image that had the name before

# ----------------------------------------------------------------------------------------------------------------------- run
container=$(builder from --pull-never "$IMAGE")
root=$(builder mount "$container")
say "size of $IMAGE"
printf '   %s\tthe whole image, uncompressed\n' "$(builder images --format '{{.Size}}' "$IMAGE")"
du -sh --apparent-size "$root/opt/featurestore" | sed "s|$root||; s|^|   |"
du -sh --apparent-size "$root"/opt/featurestore/lib/python3*/site-packages/* | sort -rh | sed -n "s|$root||; 1,8s|^|   |p"
if find "$root" -xdev \( -name cc1 -o -name 'gcc*' -o -name pip \) \( -type f -o -type l \) -perm -u+x | grep .; then
    fail "the image holds the tools of its build, listed above"
fi

say "run: the image's root, read-only, as its user, in namespaces of its own"
builder inspect --type image "$IMAGE" > "$secrets/configuration.json"
python3 docker/run_image.py "$root" "$secrets/configuration.json"
say "done: $IMAGE is in $CACHE/storage (buildah --root $CACHE/storage --storage-driver vfs push $IMAGE ...)"
