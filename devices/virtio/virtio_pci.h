/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/virtio_pci.h - the virtio core as the PCI transport's registers reach it; devices include
 * devices/virtio/virtio.h alone.
 * Threads: with dev->lock held. virtio 1.2, 4.1 "Virtio Over PCI Bus". */
#ifndef DEVICES_VIRTIO_VIRTIO_PCI_H
#define DEVICES_VIRTIO_VIRTIO_PCI_H
#include "devices/virtio/virtio.h"

/* Status and vectors are written with dev->lock held, and read without it by threads that signal. */
#define LOAD(x)	     __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, to) __atomic_store_n(&(x), (to), __ATOMIC_RELAXED)

uint8_t virtio_status(struct virtio *v);
void virtio_set_status(struct virtio *v, uint8_t value);
/* PCI's command register: the driver may have switched bus mastering. */
void virtio_command_written(struct virtio *v);
void virtio_enable_queue(struct virtio *v, uint32_t queue);
/* Reads and clears ISR. */
uint8_t virtio_take_isr(struct virtio *v);
#endif
