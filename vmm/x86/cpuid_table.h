/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/x86/cpuid_table.h - the allow-list: which CPUID leaves, registers and bits a guest gets. Included by
 * cpuid.c and its test alone.
 * Default deny: a leaf, register or bit that is not named here reads as zero. A feature may be allowed if all
 * its state is saved: registers, XSAVE components of XCR0, MSRs of KVM's lists. Not (yet): SVM, VMX, SMM, SGX,
 * CET, AMX, PT, PMU, APX, FRED, key locker, user interrupts, MPX, resource control, MONITOR/MWAIT. */
#ifndef VMM_X86_CPUID_TABLE_H
#define VMM_X86_CPUID_TABLE_H
#include <stdint.h>

enum cpuid_reg { EAX, EBX, ECX, EDX };
#define A (1U << EAX)
#define B (1U << EBX)
#define C (1U << ECX)
#define D (1U << EDX)

#define CPUID_LEAF7_LAST 2

enum cpuid_leaf_kind {
	LEAF_PASS,     /* kept; registers that have a row in the feature table are masked by it */
	LEAF_TOPOLOGY, /* made by cpuid_topology(), whatever KVM says */
};

struct cpuid_leaf {
	uint32_t function, first, last; /* indices */
	enum cpuid_leaf_kind kind;
	uint32_t regs; /* the others read as zero */
};

#define ANY UINT32_MAX
static const struct cpuid_leaf cpuid_leaf_table[] = {
	{0x0, 0, ANY, LEAF_PASS, A | B | C | D}, /* highest leaf, vendor */
	{0x1, 0, ANY, LEAF_PASS, A | B | C | D}, /* signature, features */
	{0x2, 0, ANY, LEAF_PASS, A | B | C | D}, /* cache descriptors */
	{0x4, 0, ANY, LEAF_PASS, A | B | C | D}, /* caches */
	{0x6, 0, ANY, LEAF_PASS, A},		 /* thermal and power: ARAT */
	{0x7, 0, 0, LEAF_PASS, A | B | C | D},	 /* features; EAX: last index */
	{0x7, 1, 1, LEAF_PASS, A | D},
	{0x7, 2, 2, LEAF_PASS, D},
	{0xb, 0, ANY, LEAF_TOPOLOGY, A | B | C | D},
	{0xd, 0, 63, LEAF_PASS, A | B | C | D}, /* XSAVE */
	{0x1f, 0, ANY, LEAF_TOPOLOGY, A | B | C | D},
	{0x40000000, 0, ANY, LEAF_PASS, A | B | C | D}, /* "KVMKVMKVM" */
	{0x40000001, 0, ANY, LEAF_PASS, A},
	{0x80000000, 0, ANY, LEAF_PASS, A | B | C | D},
	{0x80000001, 0, ANY, LEAF_PASS, A | B | C | D},
	{0x80000002, 0, ANY, LEAF_PASS, A | B | C | D}, /* brand string */
	{0x80000003, 0, ANY, LEAF_PASS, A | B | C | D},
	{0x80000004, 0, ANY, LEAF_PASS, A | B | C | D},
	{0x80000005, 0, ANY, LEAF_PASS, A | B | C | D}, /* AMD: L1 caches and TLBs */
	{0x80000006, 0, ANY, LEAF_PASS, A | B | C | D}, /* L2 and L3 */
	{0x80000007, 0, ANY, LEAF_PASS, D},		/* invariant TSC */
	{0x80000008, 0, ANY, LEAF_PASS, A | B | C},	/* address sizes, features, core count */
	{0x80000019, 0, ANY, LEAF_PASS, A | B},		/* AMD: 1 GiB TLBs */
	{0x8000001a, 0, ANY, LEAF_PASS, A},		/* AMD: how fast instructions are */
	{0x8000001d, 0, ANY, LEAF_PASS, A | B | C | D}, /* AMD: caches */
	{0x8000001e, 0, ANY, LEAF_TOPOLOGY, A | B | C | D},
	{0x80000021, 0, ANY, LEAF_PASS, A | C}, /* AMD: features */
};
#undef A
#undef B
#undef C
#undef D
#undef ANY

/* Up to 32 words, bit 0 first, eight a line; the rest is reserved. "name": allowed; "-name": withheld; ".": reserved.
 * Names as in Linux' /proc/cpuinfo. */
struct cpuid_features {
	uint32_t function, index;
	enum cpuid_reg reg;
	uint32_t
		not_compared; /* bits that do not come from the host: topology, or set by KVM or here */
	const char *names;
};

static const struct cpuid_features cpuid_feature_table[] = {
	{0x1, 0, EDX, 1U << 28 /* ht */,
	 "fpu vme de pse tsc msr pae mce "
	 "cx8 apic . sep mtrr pge mca cmov "
	 "pat pse36 -pn clflush . -dts -acpi mmx "
	 "fxsr sse sse2 ss ht -tm . -pbe"},
	{0x1, 0, ECX, 1U << 27 /* osxsave follows CR4 */,
	 "pni pclmulqdq -dtes64 -monitor -ds_cpl -vmx -smx -est "
	 "-tm2 ssse3 -cid -sdbg fma cx16 -xtpr -pdcm "
	 ". pcid -dca sse4_1 sse4_2 x2apic movbe popcnt "
	 "tsc_deadline_timer aes xsave -osxsave avx f16c rdrand hypervisor"},
	{0x6, 0, EAX, 0,
	 "-dtherm -ida arat . -pln . -pts -hwp "
	 "-hwp_notify -hwp_act_window -hwp_epp -hwp_pkg_req . . . ."},
	{0x7, 0, EBX, 0,
	 "fsgsbase tsc_adjust -sgx bmi1 hle avx2 fdp_excptn_only smep "
	 "bmi2 erms invpcid rtm -cqm zero_fcs_fds -mpx -rdt_a "
	 "avx512f avx512dq rdseed adx smap avx512ifma -pcommit clflushopt "
	 "clwb -intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"},
	{0x7, 0, ECX, 1U << 4 /* ospke follows CR4 */,
	 "prefetchwt1 avx512vbmi umip pku -ospke waitpkg avx512_vbmi2 -shstk "
	 "gfni vaes vpclmulqdq avx512_vnni avx512_bitalg -tme avx512_vpopcntdq . "
	 "la57 . . . . . rdpid -keylocker "
	 "-bus_lock_detect cldemote . movdiri movdir64b -enqcmd -sgx_lc -pks"},
	{0x7, 0, EDX, 0,
	 "-sgx_keys . avx512_4vnniw avx512_4fmaps fsrm -uintr . . "
	 "avx512_vp2intersect -srbds_ctrl md_clear -rtm_always_abort . -tsx_force_abort serialize "
	 "-hybrid_cpu "
	 "tsxldtrk . -pconfig -arch_lbr -ibt . -amx_bf16 avx512_fp16 "
	 "-amx_tile -amx_int8 spec_ctrl intel_stibp flush_l1d arch_capabilities -core_capabilities "
	 "spec_ctrl_ssbd"},
	{0x7, 1, EAX, 0,
	 "sha512 sm3 sm4 -rao_int avx_vnni avx512_bf16 lass cmpccxadd "
	 "-arch_perfmon_ext . fzrm fsrs fsrc . . . "
	 ". -fred lkgs wrmsrns -nmi_source -amx_fp16 -hreset avx_ifma "
	 ". . lam -msrlist . . -invd_disable -movrs"},
	{0x7, 1, EDX, 0,
	 ". . . . avx_vnni_int8 avx_ne_convert . . "
	 "-amx_complex . avx_vnni_int16 . . . prefetchiti . "
	 ". -uiret_uif -cet_sss -avx10 . -apx_f . ."},
	/* More bits of MSR SPEC_CTRL, which is saved. */
	{0x7, 2, EDX, 0, "psfd ipred_ctrl rrsba_ctrl ddpd_u bhi_ctrl mcdt_no . ."},
	{0xd, 1, EAX, 0, "xsaveopt xsavec xgetbv1 xsaves -xfd . . ."},
	/* Paravirtual features whose MSRs are saved. msi_ext_dest_id needs a VMM that routes such MSIs,
	 * hc_map_gpa_range and migration_control one for encrypted guests. */
	{0x40000001, 0, EAX, 0,
	 "-kvmclock_old nop_io_delay -mmu_op kvmclock async_pf steal_time pv_eoi pv_unhalt "
	 ". pv_tlb_flush -async_pf_vmexit pv_send_ipi poll_control pv_sched_yield async_pf_int "
	 "-msi_ext_dest_id "
	 "-hc_map_gpa_range -migration_control . . . . . . "
	 "kvmclock_stable . . . . . . ."},
	{0x80000001, 0, EDX, 0,
	 "fpu vme de pse tsc msr pae mce "
	 "cx8 apic . syscall mtrr pge mca cmov "
	 "pat pse36 . -mp nx . mmxext mmx "
	 "fxsr fxsr_opt pdpe1gb rdtscp . lm 3dnowext 3dnow"},
	{0x80000001, 0, ECX, 1U << 1 /* cmp_legacy */,
	 "lahf_lm cmp_legacy -svm -extapic cr8_legacy abm sse4a misalignsse "
	 "3dnowprefetch -osvw -ibs xop -skinit -wdt . -lwp "
	 "fma4 tce . -nodeid_msr . tbm topoext -perfctr_core "
	 "-perfctr_nb . -bpext -ptsc -perfctr_llc -mwaitx . ."},
	{0x80000007, 0, EDX, 0,
	 "-ts -fid -vid -ttp -tm -stc -100mhzsteps -hwpstate "
	 "invariant_tsc -cpb -eff_freq_ro -proc_feedback -acc_power . . ."},
	{0x80000008, 0, EBX, 0,
	 "clzero -irperf xsaveerptr . -rdpru . -mba . "
	 ". wbnoinvd . . amd_ibpb -int_wbinvd amd_ibrs amd_stibp "
	 ". amd_stibp_always_on . ibrs_same_mode . . . -amd_ppin "
	 "amd_ssbd virt_ssbd amd_ssb_no -cppc amd_psfd btc_no ibpb_ret -brs"},
	{0x80000021, 0, EAX, 0,
	 "no_nested_data_bp . lfence_rdtsc . . verw_clear null_sel_clr_base . "
	 "autoibrs no_smm_ctl_msr fsrs_amd fsrc_amd . -prefetch_ctl_msr . . "
	 ". -user_cpuid_disable -epsf . prefetchi . . . "
	 "-eraps . . sbpb ibpb_brtype srso_no srso_user_kernel_no ."},
	{0x80000021, 0, ECX, 0, ". tsa_sq_no tsa_l1_no . . . . ."},
};
#endif
