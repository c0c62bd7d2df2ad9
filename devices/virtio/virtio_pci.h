/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/virtio_pci.h - between the virtio core and its PCI transport; devices include only
 * devices/virtio/virtio.h. virtio 1.2, 4.1 "Virtio Over PCI Bus".
 * Threads: with dev->lock held. */
#ifndef DEVICES_VIRTIO_VIRTIO_PCI_H
#define DEVICES_VIRTIO_VIRTIO_PCI_H
#include "devices/virtio/virtio.h"

/* Status and vectors are written with dev->lock held, and read without it by threads that signal. */
#define LOAD(x)	     __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, to) __atomic_store_n(&(x), (to), __ATOMIC_RELAXED)

int virtio_pci_attach(struct device *dev, struct vm *vm, struct error *err) must_check;
void virtio_pci_detach(struct device *dev);
/* An ioeventfd for each running queue, at the BAR's address. */
void virtio_pci_sync_kicks(struct device *dev);
/* Interrupts of kernel back ends follow the queues' vectors, their masks and messages. */
void virtio_pci_sync_calls(struct device *dev);

/* The name of a feature bit of devices with this ID, for messages. */
const char *virtio_feature_name(uint16_t id, uint32_t bit);

/* The core, for the registers. */
uint8_t virtio_status(struct device *dev);
void virtio_set_status(struct device *dev, uint8_t value);
/* The driver may have changed the bus master bit. */
void virtio_command_written(struct device *dev);
void virtio_enable_queue(struct device *dev, uint32_t queue);
/* Reads and clears ISR. */
uint8_t virtio_take_isr(struct device *dev);
#endif
