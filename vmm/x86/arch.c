/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The x86 side of vmm/arch.h but the clock: creation, boot, reset, and the saved state as a whole. */
#include "vmm/arch.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include "vmm/x86/x86.h"
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

const char arch_name[] = "x86_64";

/* Without these a guest cannot run, or cannot be saved completely. Linux 5.16 has all of them. */
static const struct {
	int cap;
	const char *name;
} needed[] = {
	{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
	{KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK"},
	{KVM_CAP_SREGS2, "KVM_CAP_SREGS2"},
	{KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
	{KVM_CAP_XCRS, "KVM_CAP_XCRS"},
	{KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
	{KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
	{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
	{KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ"},
};

static struct kvm_cpuid2 *cpuid_new(void)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_MAX_ENTRIES * sizeof(cpuid->entries[0]));

	if (cpuid)
		cpuid->nent = CPUID_MAX_ENTRIES;
	return cpuid;
}

/* --- the in-kernel PIC, IOAPIC and PIT */

#define IOAPIC_PINS 24

#define IRQCHIP_STATE(F, A, V, T) \
	F(T, pic0)                \
	F(T, pic1)                \
	F(T, ioapic)              \
	F(T, pit)                 \
	F(T, has_pit, ST_BOOL)

STATE_DEFINE(irqchip_state, IRQCHIP_STATE, "x86-irqchip", NULL);

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

static int irqchip_save(int vm_fd, bool pit, struct irqchip_state *state, struct error *err)
{
	memset(state, 0, sizeof(*state));
	for (size_t i = 0; i < ARRAY_SIZE(chips); i++) {
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

static int irqchip_load(int vm_fd, const struct irqchip_state *state, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(chips); i++) {
		struct kvm_irqchip chip = {.chip_id = chips[i].id};

		memcpy(&chip.chip, (const uint8_t *)state + chips[i].offset, chips[i].size);
		if (ioctl(vm_fd, KVM_SET_IRQCHIP, &chip))
			return error_set(err, -errno, "KVM_SET_IRQCHIP: %s", strerror(errno));
	}
	if (state->has_pit && ioctl(vm_fd, KVM_SET_PIT2, state->pit))
		return error_set(err, -errno, "KVM_SET_PIT2: %s", strerror(errno));
	return 0;
}

/* --- the machine */

int arch_ram_layout(struct vm *vm, struct error *err)
{
	uint64_t size = vm->opt->memory.size_bytes;
	uint64_t low = size < LAYOUT_LOW_RAM_END_GPA ? size : LAYOUT_LOW_RAM_END_GPA;
	int ret = ram_add_region(&vm->ram, 0, low, err);

	if (!ret && size > low)
		ret = ram_add_region(&vm->ram, LAYOUT_HIGH_RAM_GPA, size - low, err);
	return ret;
}

int arch_vm_create(struct vm *vm, struct error *err)
{
	int xsave_bytes;

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return error_set(err, -ENOTSUP,
					 "this host's KVM lacks %s: Linux 5.16 has it",
					 needed[i].name);
	vm->arch = calloc(1, sizeof(*vm->arch));
	if (!vm->arch)
		return error_set(err, -ENOMEM, "no memory");
	vm->arch->files = (struct boot_files)BOOT_FILES_NONE;
	for (uint32_t i = 0; i < vm->opt->cpus; i++) {
		vm->arch->cpuid[i] = cpuid_new();
		if (!vm->arch->cpuid[i])
			return error_set(err, -ENOMEM, "no memory for CPUID");
	}
	xsave_bytes = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	vm->arch->xsave_bytes = xsave_bytes > (int)sizeof(struct kvm_xsave)
					? (uint32_t)xsave_bytes
					: sizeof(struct kvm_xsave);
	if (vm->arch->xsave_bytes > CPU_MAX_XSAVE)
		return error_set(err, -ENOTSUP, "this host's XSAVE area has %d bytes, more than %d",
				 xsave_bytes, CPU_MAX_XSAVE);
	return irqchip_create(&vm->irq, vm->opt->pit, err);
}

void arch_vm_destroy(struct vm *vm)
{
	if (!vm->arch)
		return;
	boot_files_close(&vm->arch->files);
	for (uint32_t i = 0; i < OPTIONS_MAX_CPUS; i++)
		free(vm->arch->cpuid[i]);
	free(vm->arch);
	vm->arch = NULL;
}

/* Above all RAM, and low enough for CPUs with 40 bits of physical address. */
#define PCI_MMIO64_GPA	 0x8000000000UL
#define PCI_MMIO64_BYTES 0x8000000000UL

static uint32_t physical_bits(void)
{
	uint32_t eax = 36, ebx, ecx, edx;

	return __get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx) ? eax & 0xff : 36;
}

void arch_pci_layout(const struct vm *vm, struct arch_pci_layout *layout)
{
	const struct ram_region *last = &vm->ram.region[vm->ram.nregions - 1];
	bool room = vm->ram.nregions && last->gpa + last->size_bytes <= PCI_MMIO64_GPA &&
		    physical_bits() >= 40;

	*layout = (struct arch_pci_layout){
		.ecam_gpa = LAYOUT_PCI_ECAM_GPA,
		.ecam_bytes = LAYOUT_PCI_ECAM_BYTES,
		.mmio32_gpa = LAYOUT_PCI_MMIO32_GPA,
		.mmio32_bytes = LAYOUT_IOAPIC_GPA - LAYOUT_PCI_MMIO32_GPA,
		.mmio64_gpa = PCI_MMIO64_GPA,
		.mmio64_bytes = room ? PCI_MMIO64_BYTES : 0,
		.pio_port = LAYOUT_PCI_PIO_PORT,
		.pio_bytes = LAYOUT_PCI_PIO_BYTES,
		.irqchip_gpa = LAYOUT_IOAPIC_GPA, /* with LAPICs, MSIs and KVM's own pages */
		.irqchip_bytes = LAYOUT_HIGH_RAM_GPA - LAYOUT_IOAPIC_GPA,
		.intx_gsi = 16,
		.nintx_gsis = 8,
	};
}

/* --- one vCPU, by its descriptor alone, so that it works for a vCPU of a temporary VM, too */

#define CPU_STATE(F, A, V, T) \
	V(T, msrs, nmsrs)     \
	F(T, regs)            \
	F(T, sregs2)          \
	V(T, xsave, nxsave)   \
	F(T, xcrs)            \
	F(T, lapic)           \
	F(T, events)          \
	F(T, debugregs)       \
	V(T, cpuid, ncpuid)   \
	F(T, mp_state)        \
	F(T, tsc_khz)         \
	F(T, id)

static const char *cpu_check(const void *st)
{
	const struct cpu_state *state = st;

	if (state->nmsrs % 2)
		return "an MSR without a value";
	if (!state->ncpuid || state->ncpuid % CPU_CPUID_CELLS)
		return "CPUID is not made of whole entries";
	if (state->nxsave < sizeof(struct kvm_xsave))
		return "XSAVE area is shorter than KVM's smallest";
	for (uint32_t i = 0; i < state->nmsrs; i += 2)
		if (state->msrs[i] > UINT32_MAX)
			return "an MSR index of more than 32 bits";
	return NULL;
}
STATE_DEFINE(cpu_state, CPU_STATE, "x86-cpu", cpu_check);

/* A struct that one ioctl reads or writes as it is. */
struct blob {
	const char *name;
	unsigned long request;
	size_t offset;
};
#define BLOB(request, member)                                         \
	{                                                             \
#request, request, offsetof(struct cpu_state, member) \
	}

/* MP_STATE first: reading it makes KVM accept a pending INIT or SIPI; events last. */
static const struct blob save_blobs[] = {
	BLOB(KVM_GET_MP_STATE, mp_state),  BLOB(KVM_GET_REGS, regs),
	BLOB(KVM_GET_SREGS2, sregs2),	   BLOB(KVM_GET_XCRS, xcrs),
	BLOB(KVM_GET_LAPIC, lapic),	   BLOB(KVM_GET_DEBUGREGS, debugregs),
	BLOB(KVM_GET_VCPU_EVENTS, events),
};
/* Before MSRs and LAPIC: SREGS hold the APIC base, XCRS say which components XSAVE may have. */
static const struct blob system_blobs[] = {
	BLOB(KVM_SET_SREGS2, sregs2),
	BLOB(KVM_SET_XCRS, xcrs),
	BLOB(KVM_SET_XSAVE, xsave),
};
static const struct blob lapic_blobs[] = {BLOB(KVM_SET_LAPIC, lapic)};
/* Last: a pending event needs the state that it refers to. */
static const struct blob execution_blobs[] = {
	BLOB(KVM_SET_REGS, regs),
	BLOB(KVM_SET_DEBUGREGS, debugregs),
	BLOB(KVM_SET_VCPU_EVENTS, events),
	BLOB(KVM_SET_MP_STATE, mp_state),
};

/* KVM_SET_* only reads through the pointer. */
static int move(int vcpu_fd, const struct blob *blob, size_t n, const struct cpu_state *state,
		struct error *err)
{
	for (size_t i = 0; i < n; i++)
		if (ioctl(vcpu_fd, blob[i].request, (const uint8_t *)state + blob[i].offset))
			return error_set(err, -errno, "%s: %s", blob[i].name, strerror(errno));
	return 0;
}
#define MOVE(blobs) move(vcpu_fd, blobs, ARRAY_SIZE(blobs), state, err)

static void cpuid_to_state(const struct kvm_cpuid2 *cpuid, struct cpu_state *state)
{
	uint32_t *cell = state->cpuid;

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
		const uint32_t cells[CPU_CPUID_CELLS] = {e->function, e->index, e->flags, e->eax,
							 e->ebx,      e->ecx,	e->edx};

		memcpy(cell, cells, sizeof(cells));
		cell += CPU_CPUID_CELLS;
	}
	state->ncpuid = CPU_CPUID_CELLS * cpuid->nent;
}

static void cpuid_from_state(const struct cpu_state *state, struct kvm_cpuid2 *cpuid)
{
	const uint32_t *c = state->cpuid;

	cpuid->nent = state->ncpuid / CPU_CPUID_CELLS;
	for (uint32_t i = 0; i < cpuid->nent; i++, c += CPU_CPUID_CELLS)
		cpuid->entries[i] = (struct kvm_cpuid_entry2){.function = c[0],
							      .index = c[1],
							      .flags = c[2],
							      .eax = c[3],
							      .ebx = c[4],
							      .ecx = c[5],
							      .edx = c[6]};
}

static int save_vcpu(int kvm_fd, int vcpu_fd, uint32_t xsave_bytes, const struct kvm_cpuid2 *cpuid,
		     bool model, struct cpu_state *state, struct error *err)
{
	int ret, khz;

	memset(state, 0, sizeof(*state));
	ret = MOVE(save_blobs);
	if (ret)
		return ret;
	if (ioctl(vcpu_fd, xsave_bytes > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE,
		  state->xsave))
		return error_set(err, -errno, "KVM_GET_XSAVE: %s", strerror(errno));
	state->nxsave = xsave_bytes;
	khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0);
	if (khz < 0)
		return error_set(err, -errno, "KVM_GET_TSC_KHZ: %s", strerror(errno));
	state->tsc_khz = (uint32_t)khz;
	cpuid_to_state(cpuid, state);
	return msr_save(kvm_fd, vcpu_fd, model, state, err);
}

static int load_cpuid(int vcpu_fd, const struct kvm_cpuid2 *cpuid, struct error *err)
{
	if (ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid))
		return error_set(err, -errno, "KVM_SET_CPUID2: %s", strerror(errno));
	return 0;
}

static int load_system(int vcpu_fd, const struct cpu_state *state, struct error *err)
{
	int ret = MOVE(system_blobs);

	if (!ret)
		ret = msr_load(vcpu_fd, state, MSR_BEFORE_LAPIC, err);
	if (!ret)
		ret = MOVE(lapic_blobs);
	if (!ret)
		ret = msr_load(vcpu_fd, state, MSR_AFTER_LAPIC, err);
	return ret;
}

static int load_execution(int vcpu_fd, const struct cpu_state *state, struct error *err)
{
	return MOVE(execution_blobs);
}

static int load_late_msrs(int vcpu_fd, const struct cpu_state *state, struct error *err)
{
	return msr_load(vcpu_fd, state, MSR_LATE, err);
}

static int load_last_msrs(int vcpu_fd, const struct cpu_state *state, struct error *err)
{
	return msr_load(vcpu_fd, state, MSR_LAST, err);
}

/* Linux before 6.14 leaves it out of the CPUID that KVM supports. */
static bool has_tsc_deadline(const struct vm *vm)
{
	return ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
}

/* For a boot or a reset, once: a loaded guest keeps the CPUID that it was saved with. */
static int set_cpuids(struct vm *vm, struct error *err)
{
	int ret;

	if (vm->arch->cpuid_set)
		return 0;
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		struct kvm_cpuid2 *cpuid = vm->arch->cpuid[i];

		cpuid->nent = CPUID_MAX_ENTRIES;
		if (i) {
			memcpy(cpuid, vm->arch->cpuid[0],
			       sizeof(*cpuid) +
				       vm->arch->cpuid[0]->nent * sizeof(cpuid->entries[0]));
		} else {
			ret = cpuid_build(vm->kvm_fd, vm->nvcpus, cpuid, has_tsc_deadline(vm), err);
			if (ret)
				return ret;
		}
		cpuid_topology(cpuid, i, vm->nvcpus);
		ret = load_cpuid(vm->vcpu[i].fd, cpuid, err);
		if (ret)
			return ret;
	}
	vm->arch->cpuid_set = true;
	return 0;
}

/* --- the state of the machine */

int arch_state_new(struct arch_state **state, uint32_t nvcpus, struct error *err)
{
	*state = calloc(1, sizeof(**state) + nvcpus * sizeof((*state)->cpu[0]));
	if (!*state)
		return error_set(err, -ENOMEM, "no memory for the state of %u vCPUs", nvcpus);
	(*state)->nvcpus = nvcpus;
	return 0;
}

void arch_state_free(struct arch_state *state)
{
	free(state);
}

uint32_t arch_state_sections(struct arch_state *state, struct state_section *section, uint32_t max)
{
	uint32_t n = 0;

	if (max < state->nvcpus + 2)
		return state->nvcpus + 2;
	section[n++] = (struct state_section){"clock", clock_state_table, &state->clock};
	for (uint32_t i = 0; i < state->nvcpus; i++) {
		snprintf(section[n].name, sizeof(section[n].name), "cpu@%x", i);
		section[n].desc = &cpu_state_desc;
		section[n++].state = &state->cpu[i];
	}
	section[n++] = (struct state_section){"irqchip", &irqchip_state_desc, &state->irqchip};
	return n;
}

int arch_state_save(struct vm *vm, struct arch_state *state, struct error *err)
{
	int ret = 0;

	if (!vm->arch->clock.valid)
		return error_set(err, -EIO, "the guest's clocks could not be read, see the log");
	for (uint32_t i = 0; i < vm->nvcpus && !ret; i++) {
		ret = save_vcpu(vm->kvm_fd, vm->vcpu[i].fd, vm->arch->xsave_bytes,
				vm->arch->cpuid[i], true, &state->cpu[i], err);
		if (ret)
			error_prefix(err, "vCPU %u", i);
		state->cpu[i].id = i;
	}
	if (!ret)
		ret = irqchip_save(vm->vm_fd, vm->opt->pit, &state->irqchip, err);
	state->clock = vm->arch->clock;
	return ret;
}

static int check_cpuid(const struct vm *vm, const struct arch_state *state, struct error *err)
{
	struct kvm_cpuid2 *saved = cpuid_new(), *host = cpuid_new();
	int ret = -ENOMEM;

	if (!saved || !host) {
		error_set(err, ret, "no memory for CPUID");
		goto free_tables;
	}
	ret = cpuid_build(vm->kvm_fd, vm->nvcpus, host, has_tsc_deadline(vm), err);
	for (uint32_t i = 0; i < state->nvcpus && !ret; i++) {
		cpuid_from_state(&state->cpu[i], saved);
		ret = cpuid_compare(saved, host, err);
		if (ret)
			error_prefix(err, "vCPU %u", i);
	}
free_tables:
	free(saved);
	free(host);
	return ret;
}

static int check_xsave(const struct vm *vm, const struct cpu_state *cpu, struct error *err)
{
	for (uint32_t i = vm->arch->xsave_bytes; i < cpu->nxsave; i++)
		if (cpu->xsave[i])
			return error_set(err, -ENOTSUP,
					 "the guest's XSAVE area takes %u bytes, this host has %u",
					 cpu->nxsave, vm->arch->xsave_bytes);
	return 0;
}

int arch_state_check(const struct vm *vm, const struct arch_state *state, struct error *err)
{
	int ret = -EINVAL;

	if (state->clock.valid && state->clock.ntsc != state->nvcpus)
		return error_set(err, ret, "clock: %u TSCs for %u vCPUs", state->clock.ntsc,
				 state->nvcpus);
	ret = check_cpuid(vm, state, err);
	for (uint32_t i = 0; i < state->nvcpus && !ret; i++) {
		ret = check_xsave(vm, &state->cpu[i], err);
		if (!ret && state->cpu[i].id != i)
			ret = error_set(err, -EINVAL, "cpu@%x has the state of vCPU %u", i,
					state->cpu[i].id);
	}
	return ret;
}

static int load_cpuids(struct vm *vm, const struct arch_state *state, struct error *err)
{
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		struct kvm_cpuid2 *cpuid = vm->arch->cpuid[i];
		int ret;

		cpuid_from_state(&state->cpu[i], cpuid);
		ret = load_cpuid(vm->vcpu[i].fd, cpuid, err);
		if (ret)
			return ret;
	}
	vm->arch->cpuid_set = true;
	return 0;
}

/* Each kernel calibrates again: a slightly different rate is a matter of this host, and within KVM's tolerance
 * nothing is scaled. */
static int load_tsc_rate(struct vm *vm, const struct arch_state *state, struct error *err)
{
	uint32_t khz = state->cpu[0].tsc_khz;
	int host_khz = ioctl(vm->vcpu[0].fd, KVM_GET_TSC_KHZ, 0);

	if (host_khz < 0)
		return error_set(err, -errno, "KVM_GET_TSC_KHZ: %s", strerror(errno));
	if (!host_khz || !khz || (uint32_t)host_khz == khz)
		return 0;
	log_warn("the guest's TSC ran at %u kHz, this host's runs at %d kHz", khz, host_khz);
	if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) <= 0)
		return 0;
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		if (ioctl(vm->vcpu[i].fd, KVM_SET_TSC_KHZ, (unsigned long)khz))
			log_warn("vCPU %u: KVM_SET_TSC_KHZ: %s", i, strerror(errno));
	return 0;
}

static int load_clock(struct vm *vm, const struct arch_state *state, struct error *err)
{
	vm->arch->clock = state->clock;
	memcpy(&vm->arch->pit, state->irqchip.pit, sizeof(vm->arch->pit));
	vm->arch->catch_up = vm->opt->clock_realtime;
	return clock_restore(vm, err);
}

/* Parts of a load, in KVM's order. */
static int each_vcpu(const struct vm *vm, const struct arch_state *state,
		     int (*load)(int vcpu_fd, const struct cpu_state *state, struct error *err),
		     struct error *err)
{
	int ret = 0;

	for (uint32_t i = 0; i < vm->nvcpus && !ret; i++) {
		ret = load(vm->vcpu[i].fd, &state->cpu[i], err);
		if (ret)
			error_prefix(err, "vCPU %u", i);
	}
	return ret;
}

int arch_state_load(struct vm *vm, const struct arch_state *state, struct error *err)
{
	int ret = load_cpuids(vm, state, err); /* KVM checks the rest against it */

	ret = ret ? ret : load_tsc_rate(vm, state, err);
	/* kvmclock, then TSCs: deadlines are in guest TSC */
	ret = ret ? ret : load_clock(vm, state, err);
	ret = ret ? ret : each_vcpu(vm, state, load_system, err);
	/* May raise lines, which the LAPICs must receive. */
	ret = ret ? ret : irqchip_load(vm->vm_fd, &state->irqchip, err);
	return ret ? ret : each_vcpu(vm, state, load_execution, err);
}

int arch_state_load_late(struct vm *vm, const struct arch_state *state, struct error *err)
{
	int ret = each_vcpu(vm, state, load_late_msrs, err);

	return ret ? ret : each_vcpu(vm, state, load_last_msrs, err);
}

void arch_state_unload(struct vm *vm)
{
	memset(&vm->arch->clock, 0, sizeof(vm->arch->clock));
	vm->arch->catch_up = false;
	vm->arch->cpuid_set = false;
}

/* --- boot, reset and wake-up */

int arch_boot_check(const struct vm *vm, struct error *err)
{
	return boot_check(&vm->arch->files, vm->opt, vm->opt->memory.size_bytes, err);
}

static int get_registers(const struct vm *vm, struct kvm_sregs2 *sregs, struct kvm_regs *regs,
			 struct error *err)
{
	int bsp = vm->vcpu[0].fd;

	return ioctl(bsp, KVM_GET_SREGS2, sregs) || ioctl(bsp, KVM_GET_REGS, regs)
		       ? error_set(err, -errno, "registers of the first vCPU: %s", strerror(errno))
		       : 0;
}

static int set_registers(const struct vm *vm, struct kvm_sregs2 *sregs, struct kvm_regs *regs,
			 struct error *err)
{
	int bsp = vm->vcpu[0].fd;

	return ioctl(bsp, KVM_SET_SREGS2, sregs) || ioctl(bsp, KVM_SET_REGS, regs)
		       ? error_set(err, -errno, "registers of the first vCPU: %s", strerror(errno))
		       : 0;
}

int arch_boot(struct vm *vm, struct error *err)
{
	struct arch_pci_layout pci;
	struct boot_entry entry;
	struct kvm_sregs2 sregs;
	struct kvm_regs regs;
	int ret = set_cpuids(vm, err);

	arch_pci_layout(vm, &pci);
	if (!ret)
		ret = boot_place(vm, &vm->arch->files, vm->pci ? &pci : NULL, &entry, err);
	ret = ret ? ret : get_registers(vm, &sregs, &regs, err);
	if (ret)
		return ret;
	boot_set_registers(&entry, &sregs, &regs);
	return set_registers(vm, &sregs, &regs, err);
}

/* KVM cannot reset a VM; but a VM that never ran is in the state of power-on. */
static int fresh_state(struct vm *vm, struct arch_state *state, struct error *err)
{
	int twin = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0), vcpu[OPTIONS_MAX_CPUS];
	struct irq irq;
	uint32_t n = 0;
	int ret = -EIO;

	if (twin < 0)
		return error_set(err, -errno, "KVM_CREATE_VM: %s", strerror(errno));
	irq_init(&irq, twin);
	ret = irqchip_create(&irq, vm->opt->pit, err);
	for (; n < vm->nvcpus && !ret; n++) {
		vcpu[n] = ioctl(twin, KVM_CREATE_VCPU, (unsigned long)n);
		if (vcpu[n] < 0) {
			ret = error_set(err, -errno, "KVM_CREATE_VCPU: %s", strerror(errno));
			break;
		}
		ret = load_cpuid(vcpu[n], vm->arch->cpuid[n], err);
	}
	for (uint32_t i = 0; i < n && !ret; i++)
		ret = save_vcpu(vm->kvm_fd, vcpu[i], vm->arch->xsave_bytes, vm->arch->cpuid[i],
				false, &state->cpu[i], err);
	if (!ret)
		ret = irqchip_save(twin, vm->opt->pit, &state->irqchip, err);
	while (n-- > 0)
		close(vcpu[n]);
	irq_close(&irq);
	close(twin);
	return ret;
}

int arch_reset(struct vm *vm, struct error *err)
{
	struct arch_state *state;
	int ret = set_cpuids(vm, err);

	if (!ret)
		ret = arch_state_new(&state, vm->nvcpus, err);
	if (ret)
		return ret;
	ret = fresh_state(vm, state, err);
	ret = ret ? ret : arch_state_load_late(vm, state, err);
	ret = ret ? ret : each_vcpu(vm, state, load_system, err);
	ret = ret ? ret : irqchip_load(vm->vm_fd, &state->irqchip, err);
	if (!ret) /* the next resume sets it */
		memcpy(&vm->arch->pit, state->irqchip.pit, sizeof(vm->arch->pit));
	ret = ret ? ret : each_vcpu(vm, state, load_execution, err);
	arch_state_free(state);
	return ret;
}

/* ACPI 6.5, 5.2.10: in real mode, CS:IP made from the vector as from a linear address. */
int arch_wake(struct vm *vm, struct error *err)
{
	uint32_t vector = acpi_waking_vector(&vm->ram);
	struct kvm_sregs2 sregs;
	struct kvm_regs regs;
	int ret;

	if (!vector)
		return error_set(err, -EFAULT, "the FACS has no waking vector below 1 MiB");
	ret = arch_reset(vm, err);
	ret = ret ? ret : get_registers(vm, &sregs, &regs, err);
	if (ret)
		return ret;
	sregs.cs.selector = (uint16_t)(vector >> 4);
	sregs.cs.base = (uint64_t)sregs.cs.selector << 4;
	regs.rip = vector & 0xf;
	return set_registers(vm, &sregs, &regs, err);
}

void arch_log_registers(const struct vcpu *vcpu)
{
	struct kvm_sregs sregs;
	struct kvm_regs r;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &r) || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return;
#define X(v) ((unsigned long long)(v))
	log_error("vCPU %u: rip %llx rsp %llx rflags %llx rax %llx rbx %llx rcx %llx rdx %llx "
		  "rsi %llx rdi %llx rbp %llx r8 %llx r9 %llx r10 %llx r11 %llx r12 %llx r13 %llx "
		  "r14 %llx r15 %llx",
		  vcpu->id, X(r.rip), X(r.rsp), X(r.rflags), X(r.rax), X(r.rbx), X(r.rcx), X(r.rdx),
		  X(r.rsi), X(r.rdi), X(r.rbp), X(r.r8), X(r.r9), X(r.r10), X(r.r11), X(r.r12),
		  X(r.r13), X(r.r14), X(r.r15));
	log_error("vCPU %u: cs %x base %llx ss %x cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer %llx "
		  "idt %llx gdt %llx",
		  vcpu->id, sregs.cs.selector, X(sregs.cs.base), sregs.ss.selector, X(sregs.cr0),
		  X(sregs.cr2), X(sregs.cr3), X(sregs.cr4), X(sregs.efer), X(sregs.idt.base),
		  X(sregs.gdt.base));
#undef X
}
