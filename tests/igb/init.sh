#!/bin/busybox sh
# The virtual machine's first process: the host's root, read-only with a tmpfs on top, and guest.py in it.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
load() { while read -r module; do $b insmod "/modules/$module" || echo "cannot load $module"; done <"/modules/$1"; }
echo 'the machine is up'
load boot
$b mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /host || $b poweroff -f
$b mount -t tmpfs tmpfs /tmp
$b mkdir /tmp/upper /tmp/work
$b mount -t overlay -o lowerdir=/host,upperdir=/tmp/upper,workdir=/tmp/work overlay /machine
for i in proc sys dev; do $b mount --move /$i /machine/$i; done
$b mount -t tmpfs tmpfs /machine/tmp
$b mount -t tmpfs tmpfs /machine/run
$b mkdir /machine/tmp/modules
$b cp /modules/* /machine/tmp/modules/
value() { $b sed -n "s/.*$1=\([^ ]*\).*/\1/p" /machine/proc/cmdline; }
PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp $b chroot /machine /usr/bin/python3 -u "$(value pollux)/tests/igb/guest.py" \
  "$(value build)" "$(value only)"
$b poweroff -f
