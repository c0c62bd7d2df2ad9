/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VFIO device: attach, reset and checkpoints of a PCI function of the host that the guest drives. */
#include "devices/vfio/vfio.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define ENTRY_WORDS 4

#define VFIO_STATE(F, A, V, T) PCI_STATE_ROWS(F, A, V, T, pci) V(T, vector, nvector_words)

static const char *vfio_check(const void *state)
{
	const struct vfio_state *s = state;
	const char *why = pci_check(&s->pci);

	if (why)
		return why;
	if (s->nvector_words % ENTRY_WORDS || s->nvector_words > ENTRY_WORDS * VFIO_VECTORS_MAX)
		return "the MSI-X table ends within an entry, or is too long";
	if (s->pci.intx || s->pci.msix_pending)
		return "an interrupt is pending, which this device never saves";
	return pci_msix_check(s->vector, s->nvector_words);
}
STATE_DEFINE(vfio_state, VFIO_STATE, "vfio-pci", vfio_check);

static uint32_t vfio_count(const struct options *opt)
{
	return opt->nvfios;
}

/* --- attach */

static int vfio_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct vfio *vfio = container_of(dev, struct vfio, dev);
	int ret;

	vfio->config = &vm->opt->vfio[dev->instance];
	snprintf(vfio->name, sizeof(vfio->name), "%s (%s)", vfio->config->id, vfio->config->host);
	vfio->intx_fd = vfio->unmask_fd = -1;
	memset(vfio->notice_fd, -1, sizeof(vfio->notice_fd));
	ret = vfio_kernel_open(vm, vfio->config->host, &vfio->fd, err);
	if (ret)
		return ret;
	ret = vfio_config_open(vfio, err);
	vfio->s.nvector_words = ENTRY_WORDS * vfio->pci.nvectors;
	ret = ret ? ret : vfio_irq_open(vfio, err);
	if (ret) {
		error_prefix(err, "%s", vfio->name);
		goto close;
	}
	ret = pci_add(&vfio->pci, vm, err);
	if (ret)
		goto close;
	if (!vm->opt->s3)
		log_warn("%s: with --machine s3=off the guest cannot sleep, and with a "
			 "function "
			 "that is passed through it can be saved only asleep",
			 vfio->name);
	return 0;
close:
	vfio_irq_close(vfio);
	vfio_config_close(vfio);
	vfio_kernel_close(vm, vfio->config->host, vfio->fd);
	return ret;
}

static void vfio_detach(struct device *dev)
{
	struct vfio *vfio = container_of(dev, struct vfio, dev);

	vfio_irq_close(vfio);
	pci_remove(&vfio->pci); /* memslots go before their mappings */
	vfio_config_close(vfio);
	vfio_kernel_close(dev->vm, vfio->config->host, vfio->fd);
}

/* --- reset */

/* When this returns the function no longer writes to guest RAM: the next kernel is loaded there. */
static void vfio_reset(struct device *dev)
{
	struct vfio *vfio = container_of(dev, struct vfio, dev);
	struct error err;

	vfio_irq_off(vfio);
	if (vfio_config_isolate(vfio, &err))
		log_error("%s", err.msg);
	/* VFIO has reset an unused function when it was opened. */
	vfio->must_reset = vfio->used && ioctl(vfio->fd, VFIO_DEVICE_RESET);
	if (vfio->must_reset)
		log_error("%s: the function cannot be reset: %s: it is kept from guest RAM "
			  "until "
			  "that works: try again by system_reset, or quit, and look at the host's "
			  "kernel log",
			  vfio->name, strerror(errno));
	else
		vfio->used = false;
	pci_reset(&vfio->pci);
	vfio_config_command(vfio);
	vfio_config_power(vfio);
}

/* --- checkpoints */

static int vfio_may_save(struct device *dev, struct error *err)
{
	const struct vfio *vfio = container_of(dev, struct vfio, dev);

	if (dev->vm->suspended)
		return 0;
	if (!dev->vm->opt->s3)
		return error_set(err, -EOPNOTSUPP,
				 "%s is passed through and can be saved only while the guest "
				 "sleeps, which it cannot: start it with --machine s3=on",
				 vfio->name);
	return error_set(
		err, -EAGAIN,
		"%s is passed through and can be saved only while the guest sleeps: "
		"%slet its agent guest-suspend-ram (kexec-update --suspend does), wait for "
		"run state suspended",
		vfio->name, dev->vm->runstate == RUNSTATE_PAUSED ? "cont it first, " : "");
}

static int vfio_compare(struct device *dev, const void *saved, struct error *err)
{
	const struct vfio *vfio = container_of(dev, struct vfio, dev);
	const struct vfio_state *s = saved;
	int ret = pci_compare(&vfio->pci, &s->pci, err);

	/* Else pci_compare() has named the difference. */
	if (!ret && s->nvector_words != ENTRY_WORDS * vfio->pci.nvectors)
		ret = error_join(err, -EINVAL,
				 "saved with a table of %u MSI-X vectors, here are %u",
				 s->nvector_words / ENTRY_WORDS, vfio->pci.nvectors);
	if (ret)
		error_join(err, ret,
			   "%s is not the function that was saved: pass that one through as "
			   "%s",
			   vfio->config->host, vfio->config->id);
	return ret;
}

static int vfio_post_load(struct device *dev, struct error *err)
{
	struct vfio *vfio = container_of(dev, struct vfio, dev);

	return pci_post_load(&vfio->pci, err);
}

/* After a load the function is in the state after a reset; the driver sets it up when the guest wakes. INTx is
 * set up anew: KVM may have forgotten the level of the line. */
static void vfio_resume(struct device *dev)
{
	struct vfio *vfio = container_of(dev, struct vfio, dev);

	vfio->used = true;
	/* Before bus mastering: an interrupt that is raised while disabled is lost. */
	if (vfio->irq_mode == VFIO_IRQ_INTX)
		vfio_irq_off(vfio);
	vfio_irq_sync(vfio, true);
	vfio_config_command(vfio);
	pci_resume(&vfio->pci);
}

/* With a sleeping guest RAM must no longer change, whatever its driver left enabled. With one that is awake,
 * which cannot be saved, the function goes on. */
static int vfio_pause(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct vfio *vfio = container_of(dev, struct vfio, dev);
	int ret;

	if (!dev->vm->suspended)
		return 0;
	vfio_irq_pause(vfio);
	ret = vfio_config_isolate(vfio, err);
	if (ret) {
		vfio_resume(dev);
		return ret;
	}
	/* A read also waits until earlier writes of the function are in RAM. */
	vfio_config_refresh(vfio);
	return 0;
}

const struct device_ops vfio_pci_ops = {
	.type = "vfio-pci",
	.name = "vfio",
	.count = vfio_count,
	.needs = &pci_host_ops,
	.state = &vfio_state_desc,
	.may_save = vfio_may_save,
	DEVICE_STRUCT(struct vfio),
	.attach = vfio_attach,
	.detach = vfio_detach,
	.reset = vfio_reset,
	.pause = vfio_pause,
	.compare = vfio_compare,
	.post_load = vfio_post_load,
	.resume = vfio_resume,
};
