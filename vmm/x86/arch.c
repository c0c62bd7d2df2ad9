/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The x86 side of vmm/arch.h: creation and boot. Reset and saved state are in state.c. */
#include "vmm/arch.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include "vmm/x86/acpi.h"
#include "vmm/x86/boot.h"
#include "vmm/x86/layout.h"
#include "vmm/x86/x86.h"
#include <cpuid.h>
#include <errno.h>
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
		vm->arch->cpuid[i] = cpu_cpuid_new();
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

int arch_boot_check(const struct vm *vm, struct error *err)
{
	return boot_check(&vm->arch->files, vm->opt, vm->opt->memory.size_bytes, err);
}

int arch_boot(struct vm *vm, struct error *err)
{
	struct boot_entry entry;
	struct arch_pci_layout pci;
	struct kvm_sregs2 sregs;
	struct kvm_regs regs;
	int bsp = vm->vcpu[0].fd, ret = cpu_set_cpuids(vm, err);

	arch_pci_layout(vm, &pci);
	if (!ret)
		ret = boot_place(vm, &vm->arch->files, vm->pci ? &pci : NULL, &entry, err);
	if (ret)
		return ret;
	if (ioctl(bsp, KVM_GET_SREGS2, &sregs))
		return error_set(err, -errno, "KVM_GET_SREGS2: %s", strerror(errno));
	boot_set_registers(&entry, &sregs, &regs);
	if (ioctl(bsp, KVM_SET_SREGS2, &sregs) || ioctl(bsp, KVM_SET_REGS, &regs))
		return error_set(err, -errno, "registers of the first vCPU: %s", strerror(errno));
	return 0;
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
