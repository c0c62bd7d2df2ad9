/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/virtio_pci.h - what the virtio core and its PCI transport know of each other; devices
 * include devices/virtio/virtio.h alone.
 * Owns: nothing.
 * Threads: with dev->lock held.
 * Units: bytes.
 * Errors: as devices/virtio/virtio.h. virtio 1.2, 4.1 "Virtio Over PCI Bus". */
#ifndef DEVICES_VIRTIO_VIRTIO_PCI_H
#define DEVICES_VIRTIO_VIRTIO_PCI_H
#include "devices/virtio/virtio.h"

/* Of status and vectors: they are written with dev->lock held, and read without it by threads that
 * signal. */
#define LOAD(x)	     __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, to) __atomic_store_n(&(x), (to), __ATOMIC_RELAXED)

/* The transport's part of attach and detach. */
int virtio_pci_attach(struct device *dev, struct vm *vm, struct error *err) must_check;
void virtio_pci_detach(struct device *dev);
/* KVM's ioeventfds follow the BAR and the queues that run. */
void virtio_pci_sync_kicks(struct device *dev);
/* The call_fds follow vectors, their masks and messages. */
void virtio_pci_sync_calls(struct device *dev);

/* For a message about a feature bit of devices with this ID. */
const char *virtio_feature_name(uint16_t id, uint32_t bit);

/* The core, as its registers reach it. */
uint8_t virtio_status(struct device *dev);
void virtio_set_status(struct device *dev, uint8_t value);
/* PCI's command register: the driver may have given or taken the bus. */
void virtio_command_written(struct device *dev);
void virtio_enable_queue(struct device *dev, uint32_t queue);
/* Reads and clears ISR. */
uint8_t virtio_take_isr(struct device *dev);
#endif
