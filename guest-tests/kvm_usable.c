/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvm-usable: exit status 0 if /dev/kvm of this machine runs guests: it opens, makes a VM and a vCPU, and a
 * guest of one instruction exits as it should. Otherwise 1, and a line that says what does not work.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define TIME_S	   20 /* a vCPU that never comes back: SIGALRM ends the process */

static int need(int ret, const char *what)
{
	if (ret >= 0)
		return ret;
	printf("/dev/kvm: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Real mode, at GPA 0: an exit to user space, whatever the kernel emulates itself. */
static void put_guest(int vm)
{
	static const unsigned char code[] = {0xe6, 0x80}; /* out %al, $0x80 */
	void *ram =
		mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {.memory_size = PAGE_BYTES};

	need(ram == MAP_FAILED ? -1 : 0, "mmap");
	memcpy(ram, code, sizeof(code));
	region.userspace_addr = (unsigned long)ram;
	need(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
}

int main(void)
{
	int kvm = need(open("/dev/kvm", O_RDWR | O_CLOEXEC), "open");
	int vm = need(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	int vcpu = need(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	int run_bytes = need(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	struct kvm_run *run =
		mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	struct kvm_regs regs = {.rflags = 2};
	struct kvm_sregs sregs;

	need(run == MAP_FAILED ? -1 : 0, "mmap of the vCPU");
	put_guest(vm);
	need(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	need(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	need(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	alarm(TIME_S);
	need(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
	if (run->exit_reason == KVM_EXIT_IO && run->io.port == 0x80)
		return 0;
	printf("/dev/kvm: a guest of one instruction ends with KVM exit reason %u\n",
	       run->exit_reason);
	return 1;
}
