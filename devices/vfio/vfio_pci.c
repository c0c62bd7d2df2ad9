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

static bool msix_pending(struct device *dev, uint32_t vector)
{
	const struct vfio_host *host = dev->host;

	return host->irq_mode == VFIO_IRQ_MSIX && irq_vector_pending(&host->vector[vector]);
}

static int find_config(struct vfio_host *host, struct error *err)
{
	struct vfio_region_info config = {.argsz = sizeof(config),
					  .index = VFIO_PCI_CONFIG_REGION_INDEX};

	if (ioctl(host->fd, VFIO_DEVICE_GET_REGION_INFO, &config))
		return error_set(err, -errno, "VFIO_DEVICE_GET_REGION_INFO of config space: %s",
				 strerror(errno));
	host->config_offset = config.offset;
	return 0;
}

static int open_parts(struct device *dev, struct vfio_host *host, struct error *err)
{
	int ret = find_config(host, err);

	host->pci = (struct pci_func){
		.dev = dev,
		.state = &host->state->pci,
		.msix_pending = msix_pending,
		.bar_changed = vfio_region_bar_changed,
		.config_read = vfio_config_read,
		.config_written = vfio_config_written,
	};
	ret = ret ? ret : vfio_region_open(host, err);
	ret = ret ? ret : vfio_config_open(host, err);
	if (ret)
		return ret;
	host->state->nvector_words = ENTRY_WORDS * host->pci.nvectors;
	vfio_region_map(host);
	return vfio_irq_open(host, err);
}

static int vfio_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct vfio_host *host = dev->host;
	int ret;

	host->vm = vm;
	host->state = dev->state;
	host->config = &vm->opt->vfio[dev->instance];
	snprintf(host->name, sizeof(host->name), "%s (%s)", host->config->id, host->config->host);
	host->intx_fd = host->unmask_fd = -1;
	memset(host->notice_fd, -1, sizeof(host->notice_fd));
	ret = vfio_kernel_open(vm, host->config->host, &host->fd, err);
	if (ret)
		return ret;
	ret = open_parts(dev, host, err);
	if (ret) {
		error_prefix(err, "%s", host->name);
		goto close;
	}
	ret = pci_add(&host->pci, vm, err);
	if (ret)
		goto close;
	if (!vm->opt->s3)
		log_warn("%s: with --machine s3=off the guest cannot sleep, and with a "
			 "function "
			 "that is passed through it can be saved only asleep",
			 host->name);
	return 0;
close:
	vfio_irq_close(host);
	vfio_region_close(host);
	vfio_kernel_close(vm, host->config->host, host->fd);
	return ret;
}

static void vfio_detach(struct device *dev)
{
	struct vfio_host *host = dev->host;

	vfio_irq_close(host);
	pci_remove(&host->pci); /* memslots go before their mappings */
	vfio_region_close(host);
	vfio_kernel_close(dev->vm, host->config->host, host->fd);
}

/* --- reset */

/* When this returns the function no longer writes to guest RAM: the next kernel is loaded there. */
static void vfio_reset(struct device *dev)
{
	struct vfio_host *host = dev->host;
	struct error err;

	vfio_irq_off(host);
	if (vfio_config_isolate(host, &err))
		log_error("%s", err.msg);
	/* VFIO has reset an unused function when it was opened. */
	host->must_reset = host->used && ioctl(host->fd, VFIO_DEVICE_RESET);
	if (host->must_reset)
		log_error("%s: the function cannot be reset: %s: it is kept from guest RAM "
			  "until "
			  "that works: try again by system_reset, or quit, and look at the host's "
			  "kernel log",
			  host->name, strerror(errno));
	else
		host->used = false;
	pci_reset(&host->pci);
	vfio_config_command(host);
	vfio_config_power(host);
}

/* --- checkpoints */

static int vfio_may_save(struct device *dev, struct error *err)
{
	const struct vfio_host *host = dev->host;

	if (dev->vm->suspended)
		return 0;
	if (!dev->vm->opt->s3)
		return error_set(err, -EOPNOTSUPP,
				 "%s is passed through and can be saved only while the guest "
				 "sleeps, which it cannot: start it with --machine s3=on",
				 host->name);
	return error_set(
		err, -EAGAIN,
		"%s is passed through and can be saved only while the guest sleeps: "
		"%slet its agent guest-suspend-ram (kexec-update --suspend does), wait for "
		"run state suspended",
		host->name, dev->vm->runstate == RUNSTATE_PAUSED ? "cont it first, " : "");
}

static int vfio_compare(struct device *dev, const void *saved, struct error *err)
{
	const struct vfio_host *host = dev->host;
	const struct vfio_state *s = saved;
	int ret = pci_compare(&host->pci, &s->pci, err);

	/* Else pci_compare() has named the difference. */
	if (!ret && s->nvector_words != ENTRY_WORDS * host->pci.nvectors)
		ret = error_join(err, -EINVAL,
				 "saved with a table of %u MSI-X vectors, here are %u",
				 s->nvector_words / ENTRY_WORDS, host->pci.nvectors);
	if (ret)
		error_join(err, ret,
			   "%s is not the function that was saved: pass that one through as "
			   "%s",
			   host->config->host, host->config->id);
	return ret;
}

static int vfio_post_load(struct device *dev, struct error *err)
{
	struct vfio_host *host = dev->host;

	return pci_post_load(&host->pci, err);
}

/* After a load the function is in the state after a reset; the driver sets it up when the guest wakes. INTx is
 * set up anew: KVM may have forgotten the level of the line. */
static void vfio_resume(struct device *dev)
{
	struct vfio_host *host = dev->host;

	host->used = true;
	/* Before bus mastering: an interrupt that is raised while disabled is lost. */
	if (host->irq_mode == VFIO_IRQ_INTX)
		vfio_irq_off(host);
	vfio_irq_sync(host, true);
	vfio_config_command(host);
	pci_resume(&host->pci);
}

/* With a sleeping guest RAM must no longer change, whatever its driver left enabled. With one that is awake,
 * which cannot be saved, the function goes on. */
static int vfio_pause(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct vfio_host *host = dev->host;
	int ret;

	(void)deadline_ns;
	if (!dev->vm->suspended)
		return 0;
	vfio_irq_pause(host);
	ret = vfio_config_isolate(host, err);
	if (ret) {
		vfio_resume(dev);
		return ret;
	}
	/* A read also waits until earlier writes of the function are in RAM. */
	vfio_config_refresh(host);
	return 0;
}

const struct device_ops vfio_pci_ops = {
	.type = "vfio-pci",
	.name = "vfio",
	.count = vfio_count,
	.state = &vfio_state_desc,
	.may_save = vfio_may_save,
	.host_size = sizeof(struct vfio_host),
	.attach = vfio_attach,
	.detach = vfio_detach,
	.reset = vfio_reset,
	.pause = vfio_pause,
	.compare = vfio_compare,
	.post_load = vfio_post_load,
	.resume = vfio_resume,
};
