/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The in-kernel PIC, IOAPIC and PIT. */
#include "vmm/arch.h"
#include "vmm/base/bytes.h"
#include "vmm/irq.h"
#include "vmm/x86/x86.h"
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define IOAPIC_PINS 24

#define IRQCHIP_STATE(F, A, V, T) \
	F(T, pic0)                \
	F(T, pic1)                \
	F(T, ioapic)              \
	F(T, pit)                 \
	F(T, has_pit, ST_BOOL)

STATE_DEFINE(irqchip_state, IRQCHIP_STATE, "x86-irqchip", NULL);
const struct state_desc *const irqchip_state_table = &irqchip_state_desc;

/* The MADT tells the guest that IRQ 0 is on IOAPIC pin 2, as on every PC; KVM's default routing has
 * it on pin 0. */
static void set_line_routes(struct irq *irq)
{
	struct kvm_irq_routing_entry *entry = irq->line_route;
	uint32_t n = 0;

	for (uint32_t line = 0; line < 16; line++)
		entry[n++] = (struct kvm_irq_routing_entry){
			.gsi = line,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {.irqchip = line < 8 ? KVM_IRQCHIP_PIC_MASTER
							  : KVM_IRQCHIP_PIC_SLAVE,
				      .pin = line % 8},
		};
	for (uint32_t gsi = 0; gsi < IOAPIC_PINS; gsi++)
		if (gsi != 2) /* pin 2 is IRQ 0's */
			entry[n++] = (struct kvm_irq_routing_entry){
				.gsi = gsi,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = gsi ? gsi : 2},
			};
	irq->nline_routes = n;
}
_Static_assert(IOAPIC_PINS == ARCH_FIRST_MSI_GSI && 15 + IOAPIC_PINS <= ARCH_MAX_LINE_ROUTES,
	       "set_line_routes()");

int irqchip_create(struct irq *irq, bool pit, struct error *err)
{
	const struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};
	uint64_t identity_map_gpa = LAYOUT_IDENTITY_MAP_GPA;
	int vm_fd = irq->vm_fd;

	set_line_routes(irq);
	if (ioctl(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map_gpa))
		return error_set(err, -errno, "KVM_SET_IDENTITY_MAP_ADDR: %s", strerror(errno));
	if (ioctl(vm_fd, KVM_SET_TSS_ADDR, LAYOUT_TSS_GPA))
		return error_set(err, -errno, "KVM_SET_TSS_ADDR: %s", strerror(errno));
	if (ioctl(vm_fd, KVM_CREATE_IRQCHIP, 0))
		return error_set(err, -errno, "KVM_CREATE_IRQCHIP: %s", strerror(errno));
	if (!pit)
		return 0;
	if (ioctl(vm_fd, KVM_CREATE_PIT2, &config))
		return error_set(err, -errno, "KVM_CREATE_PIT2: %s", strerror(errno));
	return irq_route_commit(irq, err); /* only the PIT uses IRQ 0 */
}

static const struct {
	uint32_t id;
	size_t offset, size;
} chips[] = {
	{KVM_IRQCHIP_PIC_MASTER, offsetof(struct irqchip_state, pic0),
	 sizeof(struct kvm_pic_state)},
	{KVM_IRQCHIP_PIC_SLAVE, offsetof(struct irqchip_state, pic1), sizeof(struct kvm_pic_state)},
	{KVM_IRQCHIP_IOAPIC, offsetof(struct irqchip_state, ioapic),
	 sizeof(struct kvm_ioapic_state)},
};
#define NCHIPS ARRAY_SIZE(chips)

int irqchip_save(int vm_fd, bool pit, struct irqchip_state *state, struct error *err)
{
	memset(state, 0, sizeof(*state));
	for (size_t i = 0; i < NCHIPS; i++) {
		struct kvm_irqchip chip = {.chip_id = chips[i].id};

		if (ioctl(vm_fd, KVM_GET_IRQCHIP, &chip))
			return error_set(err, -errno, "KVM_GET_IRQCHIP: %s", strerror(errno));
		memcpy((uint8_t *)state + chips[i].offset, &chip.chip, chips[i].size);
	}
	state->has_pit = pit;
	if (pit && ioctl(vm_fd, KVM_GET_PIT2, state->pit))
		return error_set(err, -errno, "KVM_GET_PIT2: %s", strerror(errno));
	return 0;
}

int irqchip_load(int vm_fd, const struct irqchip_state *state, struct error *err)
{
	for (size_t i = 0; i < NCHIPS; i++) {
		struct kvm_irqchip chip = {.chip_id = chips[i].id};

		memcpy(&chip.chip, (const uint8_t *)state + chips[i].offset, chips[i].size);
		if (ioctl(vm_fd, KVM_SET_IRQCHIP, &chip))
			return error_set(err, -errno, "KVM_SET_IRQCHIP: %s", strerror(errno));
	}
	if (state->has_pit && ioctl(vm_fd, KVM_SET_PIT2, state->pit))
		return error_set(err, -errno, "KVM_SET_PIT2: %s", strerror(errno));
	return 0;
}
