/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/rig/qmp_fixture.h"
#include "cpr/cpr.h"
#include "devices/pci/pci.h"
#include "devices/platform/platform.h"
#include "devices/virtio/virtio_blk.h"
#include "devices/virtio/virtio_console.h"
#include "devices/virtio/virtio_net.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The parts of the house that QMP stands on, as small as their headers allow. */

const char arch_name[] = "x86_64";
const char *const runstate_name[RUNSTATES] = {
	"prelaunch", "inmigrate",  "running",	  "paused",   "suspended",
	"save-vm",   "restore-vm", "postmigrate", "shutdown", "internal-error",
};
const char *const cpr_mode_name[CPR_MODES] = {"reboot", "restart"};
struct fixture f;
struct fake_cpr fake_cpr;

void vm_event(struct vm *vm, const struct vm_event *event)
{
	if (vm->on_event)
		vm->on_event(vm->event_opaque, event);
}

int vm_cont(struct vm *vm, struct error *err)
{
	if (vm->runstate == RUNSTATE_INMIGRATE)
		return error_set(err, -EBUSY, "the guest waits for cprload");
	if (vm->runstate == RUNSTATE_RUNNING)
		return 0;
	vm->runstate = RUNSTATE_RUNNING;
	vm_event(vm, &(struct vm_event){.type = VM_EVENT_RESUME});
	return 0;
}

int vm_stop(struct vm *vm, struct error *err)
{
	if (vm->runstate != RUNSTATE_RUNNING)
		return 0;
	vm->runstate = RUNSTATE_PAUSED;
	vm_event(vm, &(struct vm_event){.type = VM_EVENT_STOP});
	return 0;
}

int vm_reset(struct vm *vm, bool guest, const char *reason, struct error *err)
{
	vm_event(vm, &(struct vm_event){.type = VM_EVENT_RESET, .guest = guest, .reason = reason});
	return 0;
}

int vm_powerdown(struct vm *vm, struct error *err)
{
	vm_event(vm, &(struct vm_event){.type = VM_EVENT_POWERDOWN});
	return 0;
}

int vm_wakeup(struct vm *vm, struct error *err)
{
	if (vm->runstate != RUNSTATE_SUSPENDED)
		return error_set(err, -EBUSY, "Unable to wake up: guest is not in suspended state");
	vm->runstate = RUNSTATE_RUNNING;
	vm_event(vm, &(struct vm_event){.type = VM_EVENT_WAKEUP});
	return 0;
}

void vm_quit(struct vm *vm, bool guest, const char *reason, int exit_status)
{
	vm->exit_status = exit_status;
	vm_event(vm,
		 &(struct vm_event){.type = VM_EVENT_SHUTDOWN, .guest = guest, .reason = reason});
	loop_quit(&vm->loop);
}

/* The job is under way while vm->cpr says so. */
static bool is_cancelled;

bool cpr_query(const struct vm *vm, struct cpr_status *status)
{
	*status = (struct cpr_status){"cprsave", "presync", 3 << 20, 1 << 30};
	return vm->cpr;
}

int cpr_cancel(struct vm *vm, struct error *err)
{
	if (!vm->cpr)
		return error_set(err, -EINVAL, "nothing is under way");
	is_cancelled = true;
	return 0;
}

static int long_step(struct vm *vm, struct error *err)
{
	is_cancelled = false;
	vm->cpr = (struct cpr_job *)&fake_cpr; /* nobody looks into it */
	while (!is_cancelled && atomic_load(&fake_cpr.save_is_long)) {
		vm->serve(vm->event_opaque);
		usleep(1000);
	}
	vm->cpr = NULL;
	return is_cancelled ? error_set(err, -ECANCELED, "cprsave was cancelled") : 0;
}

int cpr_save(struct vm *vm, const struct cpr_save_args *args, struct error *err)
{
	int ret = long_step(vm, err);

	if (ret)
		return ret;
	if (fake_cpr.save_fails)
		return error_set(err, -ENOSPC, "cprsave: %s: No space left on device", args->file);
	snprintf(fake_cpr.file, sizeof(fake_cpr.file), "%s", args->file);
	fake_cpr.mode = (int)args->mode;
	fake_cpr.ram_check = args->ram_check;
	fake_cpr.timeout_ns = args->timeout_ns;
	vm->runstate = RUNSTATE_POSTMIGRATE;
	vm->exit_status = args->mode == CPR_REBOOT ? CPR_EXIT_REBOOT : 0;
	return 0;
}

int cpr_load(struct vm *vm, const char *file, const char *const *accept, struct error *err)
{
	if (vm->has_run)
		return error_set(err, -EBUSY, "cprload: the guest has run in this process");
	snprintf(fake_cpr.file, sizeof(fake_cpr.file), "%s", file);
	for (; accept && *accept; accept++) {
		size_t used = strlen(fake_cpr.accepted);

		snprintf(fake_cpr.accepted + used, sizeof(fake_cpr.accepted) - used, "%s ",
			 *accept);
	}
	vm->runstate = RUNSTATE_PAUSED;
	return vm_cont(vm, err);
}

int cpr_possible(struct vm *vm, enum cpr_mode mode, struct error *err)
{
	if (fake_cpr.needs_suspend)
		return error_set(err, -EAGAIN, "vfio0: suspend the guest first");
	return mode == CPR_RESTART || fake_cpr.takes_reboot
		       ? 0
		       : error_set(err, -EOPNOTSUPP, "tmpfs is gone after a kexec");
}

/* One disk, two network cards and a host bridge. */
struct fake_devices fake_devices;
static const struct device_ops net_ops = {.type = "virtio-net"}, host_ops = {.type = "pci-host"};
const struct device_ops virtio_blk_ops = {.type = "virtio-blk"};
static const struct disk_config fake_disk = {
	.id = "root", .path = "/dev/vg/root", .cache = DISK_CACHE_NONE};
static struct pci_state disk_state = {.slot = 3,
				      .config = {[0] = 0xf4,
						 0x1a,
						 0x42,
						 0x10,
						 [0x0a] = 0x00,
						 0x01,
						 [0x10] = 0x01,
						 [0x14] = 0,
						 [0x20] = 0x0c,
						 [0x2c] = 0xf4,
						 0x1a,
						 0x02,
						 0x11,
						 [0x3c] = 10,
						 1}};
static struct pci_state host_state = {
	.config = {[0] = 0x86, 0x80, 0xc0, 0x29, [0x0a] = 0x00, 0x06}};
static struct pci_func disk_func = {
	.state = &disk_state,
	.bar = {[0] = {.size_bytes = 32, .is_io = true, .mapped = true, .gpa = 0xc040},
		[1] = {.size_bytes = 4096},
		[4] = {.size_bytes = 16384, .is_64bit = true, .mapped = true, .gpa = 0x8000004000}},
};
static struct pci_func host_func = {.state = &host_state};

void blk_query(const struct device *dev, struct blk_info *info)
{
	*info = (struct blk_info){
		.config = &fake_disk,
		.size_bytes = fake_devices.disk_bytes,
		.writeback = true,
		.written_end = 8192,
		.counter = {[BLK_READ] = {7, 28672, 1, 2, 900}, [BLK_FLUSH] = {3, 0, 0, 0, 100}},
	};
}

int blk_resize(struct device *dev, uint64_t size_bytes, struct error *err)
{
	if (size_bytes % 512)
		return error_set(err, -EINVAL, "root: not a multiple of 512");
	fake_devices.disk_bytes = size_bytes;
	return 0;
}

bool net_is(const struct device *dev)
{
	return dev->ops == &net_ops;
}

const char *net_id(const struct device *dev)
{
	return dev->instance ? "lan" : "net0";
}

void net_set_link(struct device *dev, bool up)
{
	fake_devices.link_up[dev->instance] = up;
}

void net_announce(struct device *dev)
{
	fake_devices.announced[dev->instance]++;
}

struct pci_func *pci_at(struct vm *vm, uint32_t slot)
{
	return slot == 0 ? &host_func : slot == 3 ? &disk_func : NULL;
}

/* Two ports, of which nobody has opened the second. */
static const struct device_ops console_ops = {.type = "virtio-console"};

bool serial_query(const struct device *dev, uint32_t i, struct chardev_info *info)
{
	return false;
}

bool console_query(const struct device *dev, uint32_t i, struct chardev_info *info)
{
	if (i == 2)
		return false;
	*info = (struct chardev_info){.frontend_open = !i};
	snprintf(info->label, sizeof(info->label), i ? "agent" : "console0");
	snprintf(info->filename, sizeof(info->filename), i ? "unix:/run/ga,server=on" : "stdio");
	return true;
}

static void add_device(struct device *dev, const struct device_ops *ops, const char *name,
		       uint32_t instance)
{
	pthread_mutex_init(&dev->lock, NULL);
	dev->ops = ops;
	dev->instance = instance;
	snprintf(dev->name, sizeof(dev->name), "%s", name);
	f.vm.device[f.vm.ndevices++] = dev;
}

static void add_devices(void)
{
	fake_devices = (struct fake_devices){.disk_bytes = 1 << 20, .link_up = {true, true}};
	add_device(&f.host, &host_ops, "pci-host0", 0);
	add_device(&f.disk, &virtio_blk_ops, "disk0", 0);
	add_device(&f.console, &console_ops, "console0", 0);
	add_device(&f.net[0], &net_ops, "net0", 0);
	add_device(&f.net[1], &net_ops, "net1", 1);
	disk_func.dev = &f.disk;
	host_func.dev = &f.host;
	f.vm.pci = (struct pci *)&host_func; /* there is one; nobody looks into it */
}

/* The server's thread. requests says what on_wake is to do: 0 end, else that many events. */
static void woken(void *opaque)
{
	unsigned int count = atomic_exchange(&f.vm.requests, 0);

	if (!count)
		loop_quit(&f.vm.loop);
	while (count--)
		vm_event(&f.vm, &f.event);
}

static void *run_loop(void *opaque)
{
	loop_run(&f.vm.loop);
	qmp_close(f.qmp);
	return NULL;
}

void fixture_start(void)
{
	struct error err = {""};

	memset(&f, 0, sizeof(f));
	memset(&fake_cpr, 0, sizeof(fake_cpr));
	snprintf(f.folder, sizeof(f.folder), "/tmp/stasis-qmp-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f.folder));
	snprintf(f.socket, sizeof(f.socket), "%s/qmp", f.folder);
	f.opt.name = "vm1";
	f.opt.qmp_path = f.socket;
	f.opt.serial.kind = CHARDEV_UNIX;
	for (uint32_t i = 0; i < sizeof(f.opt.uuid); i++)
		f.opt.uuid[i] = (uint8_t)(i * 0x11);
	f.backend.name = "tmpfs";
	f.opt.s3 = true;
	f.vm.opt = &f.opt;
	f.vm.ram.backend = &f.backend;
	f.vm.ram.config = (struct ram_config){
		.size_bytes = 1 << 30, .path = "/dev/shm/vm1-\xff", .offset_bytes = 4096};
	f.vm.vcpu = f.vcpu;
	f.vm.nvcpus = 2;
	f.vcpu[0].tid = 1001;
	f.vcpu[1].id = 1;
	f.vcpu[1].tid = 1002;
	f.vm.runstate = RUNSTATE_RUNNING;
	add_devices();
	ck_assert_int_eq(loop_init(&f.vm.loop, woken, NULL, &err), 0);
	ck_assert_msg(!qmp_open(&f.qmp, &f.vm, &err), "%s", err.msg);
	ck_assert_int_eq(pthread_create(&f.thread, NULL, run_loop, NULL), 0);
}

void fixture_join(void)
{
	if (!f.joined)
		ck_assert_int_eq(pthread_join(f.thread, NULL), 0);
	f.joined = true;
}

void fixture_stop(void)
{
	loop_wake(&f.vm.loop);
	fixture_join();
	loop_close(&f.vm.loop);
	ck_assert_msg(access(f.socket, F_OK), "the socket file is left behind");
	ck_assert_int_eq(rmdir(f.folder), 0);
}

void fixture_event(const struct vm_event *event)
{
	f.event = *event;
	atomic_store(&f.vm.requests, 1);
	loop_wake(&f.vm.loop);
}

void fixture_events(unsigned int count)
{
	f.event = (struct vm_event){.type = VM_EVENT_STOP};
	atomic_store(&f.vm.requests, count);
	loop_wake(&f.vm.loop);
}

/* The client. */

int client_connect(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, f.socket, strlen(f.socket));
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

void client_send_bytes(int fd, const void *data, size_t len)
{
	ck_assert_int_eq(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* C has to escape double quotes: JSON that begins with {' has single ones instead. */
static char *unquoted(const char *json)
{
	char *text = strdup(json);

	ck_assert_ptr_nonnull(text);
	if (!strncmp(text + strspn(text, "\n"), "{'", 2))
		for (char *at = text; (at = strchr(at, '\''));)
			*at = '"';
	return text;
}

void client_send(int fd, const char *text)
{
	char *json = unquoted(text);

	client_send_bytes(fd, json, strlen(json));
	free(json);
}

void client_ask(int fd, const char *command)
{
	const int name = (int)strcspn(command, " ");
	char text[2048];

	if (command[name])
		snprintf(text, sizeof(text), "{'execute':'%.*s','arguments':%s}", name, command,
			 command + name + 1);
	else
		snprintf(text, sizeof(text), "{'execute':'%s'}", command);
	client_send(fd, text);
}

static bool readable(int fd, int timeout_ms)
{
	return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, timeout_ms) > 0;
}

struct json_object *client_line(int fd)
{
	static char line[OUT_LINE_MAX];
	struct json_object *object;
	size_t len = 0;
	ssize_t n = 1;

	while (n == 1 && (!len || line[len - 1] != '\n')) {
		ck_assert_uint_lt(len, sizeof(line) - 1);
		ck_assert_msg(readable(fd, FIXTURE_TIMEOUT_MS), "no answer");
		n = read(fd, line + len, 1);
		len += n == 1;
	}
	if (!len)
		return NULL;
	line[len] = '\0';
	ck_assert_msg(len > 2 && !strcmp(line + len - 2, "\r\n"), "no CRLF: %s", line);
	for (size_t i = 0; i < len; i++)
		ck_assert_msg(!(line[i] & 0x80), "not ASCII: %s", line);
	object = json_tokener_parse(line);
	ck_assert_msg(json_object_is_type(object, json_type_object), "no JSON object: %s", line);
	return object;
}

void client_expect(int fd, const char *json)
{
	char *text = unquoted(json);
	struct json_object *want = json_tokener_parse(text), *line = client_line(fd);

	free(text);
	ck_assert_msg(want, "the test's own JSON is wrong: %s", json);
	json_object_object_del(line, "timestamp");
	ck_assert_msg(json_object_equal(line, want), "got %s, want %s",
		      json_object_to_json_string(line), json);
	json_object_put(line);
	json_object_put(want);
}

void client_expect_error(int fd, const char *class, const char *desc)
{
	struct json_object *line = client_line(fd), *error = NULL;

	json_object_object_get_ex(line, "error", &error);
	ck_assert_msg(error, "got %s, want error %s", json_object_to_json_string(line), desc);
	ck_assert_str_eq(json_object_get_string(json_object_object_get(error, "class")), class);
	ck_assert_str_eq(json_object_get_string(json_object_object_get(error, "desc")), desc);
	json_object_put(line);
}

void client_answers(int fd, const char *command, const char *value)
{
	char text[2048];

	client_ask(fd, command);
	ck_assert_int_lt(snprintf(text, sizeof(text), "{'return':%s}", value), sizeof(text));
	client_expect(fd, text);
}

void client_refuses(int fd, const char *command, const char *class, const char *desc)
{
	client_ask(fd, command);
	client_expect_error(fd, class, desc);
}

void client_expect_silence(int fd)
{
	ck_assert_msg(!readable(fd, 50), "an answer that was not asked for");
}

int client_open(void)
{
	int fd = client_connect();
	struct json_object *greeting = client_line(fd);

	ck_assert(json_object_object_get_ex(greeting, "QMP", NULL));
	json_object_put(greeting);
	client_answers(fd, "qmp_capabilities", "{}");
	return fd;
}
