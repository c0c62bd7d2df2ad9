/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/checkpoint.h"
#include "cpr/snapshot.h"
#include "ram/label.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/file.h"
#include "vmm/base/uuid.h"
#include "vmm/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* For a name that gets the longest suffix. */
#define NAME_ROOM ((int)(NAME_MAX - strlen(CHECKPOINT_LOADED_SUFFIX)))

int checkpoint_file_open(struct checkpoint_file *file, const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char folder[PATH_MAX] = ".";

	*file = (struct checkpoint_file){.path = path, .dir_fd = -1, .fd = -1};
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return error_set(err, -EISDIR, "%s: is a folder, name a file in it", path);
	if (strlen(name) > NAME_ROOM || strlen(path) >= PATH_MAX)
		return error_set(err, -ENAMETOOLONG, "%s: name too long", path);
	snprintf(file->name, sizeof(file->name), "%.*s", NAME_ROOM, name);
	snprintf(file->temp, sizeof(file->temp), "%.*s" CHECKPOINT_TEMP_SUFFIX, NAME_ROOM, name);
	snprintf(file->loaded, sizeof(file->loaded), "%.*s" CHECKPOINT_LOADED_SUFFIX, NAME_ROOM,
		 name);
	if (slash)
		snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path),
			 path);
	file->dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (file->dir_fd < 0)
		return error_set(err, -errno, "%s: folder %s: %s", path, folder, strerror(errno));
	return 0;
}

void checkpoint_file_close(struct checkpoint_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	if (file->dir_fd >= 0)
		close(file->dir_fd);
	file->fd = file->dir_fd = -1;
}

static int check_vm(const struct snapshot *head, const struct vm *vm, struct error *err)
{
	char uuid[UUID_TEXT], shown[STATE_SHOWN_BYTES];

	if (!memcmp(head->machine.uuid, vm->opt->uuid, sizeof(vm->opt->uuid)))
		return 0;
	return error_set(err, -EEXIST, "holds VM '%s' (uuid %s): choose another file",
			 state_shown(head->machine.vm_name, shown),
			 uuid_format(head->machine.uuid, uuid));
}

/* A checkpoint is spent when the label of the RAM it goes with no longer names it. No path is opened
 * because a file names it: that may be anybody's. */
static int check_spent(const struct snapshot *head, const struct vm *vm, struct error *err)
{
	const struct ram_config where = {
		.path = vm->ram.config.path,
		.size_bytes = head->machine.ram_size_bytes,
		.offset_bytes = head->memory.offset_bytes,
		.has_offset = true,
	};
	struct label label;
	char ram_path[PATH_MAX], shown[STATE_SHOWN_BYTES];
	int ret = check_vm(head, vm, err);

	if (ret)
		return ret;
	snapshot_real_ram_path(&vm->ram, ram_path);
	if (!where.path || (*ram_path && strcmp(ram_path, head->memory.path)))
		return error_set(
			err, -EEXIST,
			"holds a checkpoint of this VM whose RAM is %s, and this RAM is "
			"%s: give that one as --memory path= to load it, or choose another "
			"file for this RAM",
			state_shown(head->memory.path, shown), snapshot_ram_path(vm));
	if (vm->ram.created)
		return 0; /* its RAM is gone, and so is the guest */
	ret = label_peek(&where, &label, err);
	if (ret) {
		error_prefix(err, "holds a checkpoint of this VM whose RAM cannot be looked at: "
				  "remove the file if it is not needed, or choose another");
		return ret;
	}
	if (label.state == LABEL_SAVED &&
	    !memcmp(label.checkpoint_id, head->root.id, sizeof(label.checkpoint_id)) &&
	    !memcmp(label.vm_id, head->machine.uuid, sizeof(label.vm_id)))
		return error_set(err, -EEXIST,
				 "holds a checkpoint that has not been loaded yet: load it, or "
				 "choose another file");
	return 0;
}

typedef int (*judge_fn)(const struct snapshot *head, const struct vm *vm, struct error *err);

/* May `name`, if it is there, be replaced? A file without content may: it is what mktemp makes. */
static int check_replaceable(const struct checkpoint_file *file, const char *name, judge_fn judge,
			     const struct vm *vm, struct error *err)
{
	const char *suffix = name + strlen(file->name);
	struct snapshot *head;
	struct stat st;
	int ret;

	if (fstatat(file->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0
				       : error_set(err, -errno, "%s%s: %s", file->path, suffix,
						   strerror(errno));
	if (S_ISREG(st.st_mode) && !st.st_size && !checkpoint_check_owner(&st, err))
		return 0;
	ret = snapshot_read_head(&head, file->dir_fd, name, err);
	if (ret) {
		error_prefix(err,
			     "%s%s exists and is not replaced; remove it or choose another file",
			     file->path, suffix);
		return ret;
	}
	ret = judge(head, vm, err);
	if (ret)
		error_prefix(err, "%s%s", file->path, suffix);
	snapshot_free(head);
	return ret;
}

/* FILE.new of a save that is under way is locked. */
static int lock(int fd, struct error *err)
{
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return 0;
	return errno == EWOULDBLOCK
		       ? error_set(err, -EBUSY, "another cprsave is writing it")
		       : error_set(err, -errno, "it cannot be locked: %s", strerror(errno));
}

/* What a killed save leaves is nothing, the beginning of a tree, or all of a checkpoint: none can be loaded,
 * for the label is written after the rename. */
static int check_leftover(const struct checkpoint_file *file, int fd, struct error *err)
{
	fdt32_t magic;
	struct stat st;
	int ret;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return error_set(err, -EEXIST, "is not a regular file: remove it");
	ret = checkpoint_check_owner(&st, err);
	ret = ret ? ret : lock(fd, err);
	if (ret)
		return ret;
	/* The lock may have been got because its holder has just renamed the file. */
	if (!file_is_named(file->dir_fd, file->temp, &st))
		return error_set(err, -EBUSY, "another cprsave is writing it");
	if (st.st_size && (pread(fd, &magic, sizeof(magic), 0) != sizeof(magic) ||
			   fdt32_to_cpu(magic) != FDT_MAGIC))
		return error_set(err, -EEXIST, "is in the way and not of Stasis: remove it");
	return 0;
}

static int clear_leftover(const struct checkpoint_file *file, struct error *err)
{
	int fd = openat(file->dir_fd, file->temp, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int ret = 0;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 && (errno == ELOOP || errno == EISDIR)) {
		ret = error_set(err, -EEXIST, "is not a regular file: remove it");
	} else if (fd < 0) {
		ret = error_set(err, -errno, "%s", strerror(errno));
	} else {
		ret = check_leftover(file, fd, err);
		if (!ret && unlinkat(file->dir_fd, file->temp, 0))
			ret = error_set(err, -errno, "%s", strerror(errno));
		close(fd);
	}
	if (ret)
		error_prefix(err, "%s" CHECKPOINT_TEMP_SUFFIX, file->path);
	return ret;
}

static int create_temp(struct checkpoint_file *file, size_t room_bytes, struct error *err)
{
	int ret;

	/* Nobody else ever had this file open, and nobody but its owner will. */
	file->fd = openat(file->dir_fd, file->temp,
			  O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (file->fd < 0)
		return error_set(err, -errno, "%s" CHECKPOINT_TEMP_SUFFIX ": %s", file->path,
				 strerror(errno));
	ret = lock(file->fd, err);
	if (ret) {
		error_prefix(err, "%s" CHECKPOINT_TEMP_SUFFIX, file->path);
		if (ret != -EBUSY)
			return ret;
		/* Another save took it for a leftover and will remove it: it is not ours any more. */
		close(file->fd);
		file->fd = -1;
		return ret;
	}
	/* No space is better known while the guest still runs. */
	if (fallocate(file->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)room_bytes) && errno != EOPNOTSUPP &&
	    errno != ENOSYS)
		return error_set(err, -errno, "%s: room for %zu bytes: %s", file->path, room_bytes,
				 strerror(errno));
	return 0;
}

int checkpoint_file_create(struct checkpoint_file *file, const struct vm *vm, size_t room_bytes,
			   struct error *err)
{
	int ret = clear_leftover(file, err);

	ret = ret ? ret : create_temp(file, room_bytes, err);
	/* With FILE.new ours, no other save can change FILE between this look and the rename. */
	ret = ret ? ret : check_replaceable(file, file->name, check_spent, vm, err);
	if (ret && file->fd >= 0)
		checkpoint_file_remove(file);
	return ret;
}

int checkpoint_file_write(struct checkpoint_file *file, const void *data, size_t size_bytes,
			  struct error *err)
{
	const char *from = data;

	while (size_bytes) {
		ssize_t n = write(file->fd, from, size_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, -errno, "%s: write: %s", file->path, strerror(errno));
		from += n;
		size_bytes -= (size_t)n;
	}
	return 0;
}

int checkpoint_file_sync(struct checkpoint_file *file, struct error *err)
{
	return fsync(file->fd)
		       ? error_set(err, -errno, "%s: fsync: %s", file->path, strerror(errno))
		       : 0;
}

int checkpoint_file_publish(struct checkpoint_file *file, struct error *err)
{
	return renameat(file->dir_fd, file->temp, file->dir_fd, file->name)
		       ? error_set(err, -errno, "%s: rename: %s", file->path, strerror(errno))
		       : 0;
}

int checkpoint_file_sync_folder(struct checkpoint_file *file, struct error *err)
{
	return fsync(file->dir_fd) ? error_set(err, -errno, "%s: fsync of its folder: %s",
					       file->path, strerror(errno))
				   : 0;
}

void checkpoint_file_void(struct checkpoint_file *file)
{
	if (ftruncate(file->fd, 0) || fsync(file->fd))
		log_error("%s: cannot be emptied (%s): remove it, it must not be loaded",
			  file->path, strerror(errno));
}

void checkpoint_file_remove(struct checkpoint_file *file)
{
	const char *const name[] = {file->temp, file->name};
	struct stat st;

	if (fstat(file->fd, &st))
		return;
	for (int i = 0; i < 2; i++)
		if (file_is_named(file->dir_fd, name[i], &st) && unlinkat(file->dir_fd, name[i], 0))
			log_error("%s%s: cannot be removed: %s", file->path,
				  name[i] + strlen(file->name), strerror(errno));
	if (fsync(file->dir_fd))
		log_error("%s: fsync of its folder: %s", file->path, strerror(errno));
}

static bool has_suffix(const char *text, const char *suffix)
{
	size_t len = strlen(text), suffix_len = strlen(suffix);

	return len >= suffix_len && !strcmp(text + len - suffix_len, suffix);
}

int checkpoint_file_check_name(const char *path, struct error *err)
{
	static const char *const suffix[] = {CHECKPOINT_TEMP_SUFFIX, CHECKPOINT_LOADED_SUFFIX};

	for (size_t i = 0; i < ARRAY_SIZE(suffix); i++)
		if (has_suffix(path, suffix[i]))
			return error_set(err, -EINVAL,
					 "%s: a checkpoint's name cannot end in %s, which Stasis "
					 "adds itself: choose another",
					 path, suffix[i]);
	return 0;
}

static int open_writable(struct checkpoint_file *file, const char *path, struct error *err)
{
	int ret = checkpoint_file_open(file, path, err);

	if (!ret && faccessat(file->dir_fd, ".", W_OK | X_OK, AT_EACCESS))
		ret = error_set(err, -errno, "%s: its folder cannot be written to: %s", path,
				strerror(errno));
	return ret;
}

int checkpoint_file_check_folder(const char *path, struct error *err)
{
	struct checkpoint_file file;
	int ret = open_writable(&file, path, err);

	checkpoint_file_close(&file);
	return ret;
}

int checkpoint_file_check(const char *path, const struct vm *vm, struct error *err)
{
	struct checkpoint_file file;
	int ret = open_writable(&file, path, err);

	ret = ret ? ret : check_replaceable(&file, file.name, check_spent, vm, err);
	checkpoint_file_close(&file);
	return ret;
}

enum checkpoint_found checkpoint_file_find(const char *path)
{
	enum checkpoint_found found = CHECKPOINT_NONE;
	struct checkpoint_file file;
	struct stat st;

	if (!checkpoint_file_open(&file, path, NULL)) {
		if (!fstatat(file.dir_fd, file.name, &st, AT_SYMLINK_NOFOLLOW) && st.st_size)
			found = CHECKPOINT_WAITS;
		else if (!fstatat(file.dir_fd, file.loaded, &st, AT_SYMLINK_NOFOLLOW))
			found = CHECKPOINT_LOADED;
	}
	checkpoint_file_close(&file);
	return found;
}

/* Without an fsync, for which the guest would wait: if a crash undoes the rename, the label still decides. */
static int rename_loaded(const struct checkpoint_file *file, const struct vm *vm, struct error *err)
{
	/* An earlier one of this VM is spent, or it would not have this name. */
	int ret = check_replaceable(file, file->loaded, check_vm, vm, err);

	/* Of a format that this version does not load: by its name it is spent as well. */
	if (ret == -ENOTSUP)
		ret = 0;
	if (!ret && renameat(file->dir_fd, file->name, file->dir_fd, file->loaded))
		ret = error_set(err, -errno, "rename: %s", strerror(errno));
	return ret;
}

void checkpoint_file_retire(const char *path, const struct vm *vm)
{
	struct checkpoint_file file;
	struct error err;
	int ret;

	if (has_suffix(path, CHECKPOINT_LOADED_SUFFIX))
		return;
	ret = checkpoint_file_open(&file, path, &err);
	ret = ret ? ret : rename_loaded(&file, vm, &err);
	if (ret)
		log_warn("%s was loaded, but cannot become %s" CHECKPOINT_LOADED_SUFFIX ": %s",
			 path, path, err.msg);
	checkpoint_file_close(&file);
}

void checkpoint_file_give_up(const char *path, const struct vm *vm)
{
	struct checkpoint_file file;
	struct error err;

	if (checkpoint_file_find(path) != CHECKPOINT_WAITS)
		return;
	if (!checkpoint_file_open(&file, path, NULL) &&
	    !check_replaceable(&file, file.name, check_spent, vm, NULL)) {
		if (rename_loaded(&file, vm, &err))
			log_warn("%s: its guest was given up, but it cannot become "
				 "%s" CHECKPOINT_LOADED_SUFFIX ": %s",
				 path, path, err.msg);
		else
			log_warn("%s: its guest was given up; it is %s" CHECKPOINT_LOADED_SUFFIX
				 " now",
				 path, path);
	}
	checkpoint_file_close(&file);
}
