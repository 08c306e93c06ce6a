#!/bin/busybox sh
# The first process of the machine that crashes: mounts the disk and runs the worker, whose words go to
# the second serial port. The rest is on the kernel's command line.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
while read -r module; do $b insmod "/modules/$module"; done < /modules/order
for word in $($b cat /proc/cmdline); do
    case $word in
    wal.fs=*) fs=${word#wal.fs=} ;;
    wal.run=*) run=${word#wal.run=} ;;
    wal.seed=*) seed=${word#wal.seed=} ;;
    wal.policy=*) policy=${word#wal.policy=} ;;
    esac
done
$b mount -t "$fs" /dev/vda /mnt || $b poweroff -f
$b stty -F /dev/ttyS1 raw -echo
/bin/wal write --dir /mnt/log --run "$run" --seed "$seed" --policy "$policy" --segment-kib 64 \
    > /dev/ttyS1
$b poweroff -f
