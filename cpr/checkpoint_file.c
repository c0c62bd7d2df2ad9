/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/checkpoint_file.h"
#include "cpr/checkpoint.h"
#include "cpr/snapshot.h"
#include "ram/label.h"
#include "vmm/log.h"
#include "vmm/uuid.h"
#include "vmm/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int checkpoint_file_open(struct checkpoint_file *file, const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char folder[PATH_MAX] = ".";

	*file = (struct checkpoint_file){.path = path, .dir_fd = -1, .fd = -1};
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return error_set(err, -EISDIR, "%s: is a folder, name a file in it", path);
	if (strlen(name) + strlen(CHECKPOINT_TEMP_SUFFIX) > NAME_MAX || strlen(path) >= PATH_MAX)
		return error_set(err, -ENAMETOOLONG, "%s: name too long", path);
	snprintf(file->name, sizeof(file->name), "%.*s", NAME_MAX, name);
	snprintf(file->temp, sizeof(file->temp), "%.*s" CHECKPOINT_TEMP_SUFFIX,
		 NAME_MAX - (int)strlen(CHECKPOINT_TEMP_SUFFIX), name);
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

/* A checkpoint is spent when the label of the RAM it goes with no longer names it. */
static int check_spent(const struct checkpoint *ckpt, const struct vm *vm, struct error *err)
{
	struct snapshot *head = calloc(1, sizeof(*head));
	struct ram_config where;
	struct label label;
	char uuid[UUID_TEXT], shown[STATE_SHOWN_BYTES];
	int ret;

	if (!head)
		return error_set(err, -ENOMEM, "out of memory");
	snapshot_head_sections(head);
	ret = checkpoint_load(ckpt, head->section, head->nsections, false, err);
	if (ret)
		goto free_head;
	ret = -EEXIST;
	if (memcmp(head->machine.uuid, vm->opt->uuid, sizeof(vm->opt->uuid))) {
		error_set(err, ret, "holds VM '%s' (uuid %s): choose another file",
			  state_shown(head->machine.vm_name, shown),
			  uuid_format(head->machine.uuid, uuid));
		goto free_head;
	}
	where = (struct ram_config){
		.path = head->memory.path,
		.size_bytes = head->machine.ram_size_bytes,
		.offset_bytes = head->memory.offset_bytes,
		.has_offset = true,
	};
	if (!*head->memory.path || label_peek(&where, &label, err)) {
		error_set(
			err, ret,
			"holds a checkpoint of this VM whose RAM (%s) cannot be looked at: remove "
			"the file if it is not needed, or choose another",
			state_shown(head->memory.path, shown));
		goto free_head;
	}
	if (label.state == LABEL_SAVED &&
	    !memcmp(label.checkpoint_id, head->root.id, sizeof(label.checkpoint_id)) &&
	    !memcmp(label.vm_id, head->machine.uuid, sizeof(label.vm_id)))
		error_set(err, ret,
			  "holds a checkpoint that has not been loaded yet: load it, or choose "
			  "another file");
	else
		ret = 0;
free_head:
	free(head);
	return ret;
}

static int check_replaceable(const struct checkpoint_file *file, const struct vm *vm,
			     struct error *err)
{
	struct checkpoint ckpt;
	struct stat st;
	int ret;

	if (fstatat(file->dir_fd, file->name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT
			       ? 0
			       : error_set(err, -errno, "%s: %s", file->path, strerror(errno));
	ret = checkpoint_read(&ckpt, file->dir_fd, file->name, err);
	if (ret) {
		error_prefix(err, "%s exists and is not replaced; remove it or choose another file",
			     file->path);
		return ret;
	}
	ret = check_spent(&ckpt, vm, err);
	if (ret)
		error_prefix(err, "%s", file->path);
	checkpoint_free(&ckpt);
	return ret;
}

/* What a killed save leaves is nothing, the beginning of a tree, or all of a checkpoint. */
static int check_leftover(const struct checkpoint_file *file, int fd, const struct vm *vm,
			  struct error *err)
{
	struct checkpoint ckpt;
	struct stat st, named;
	fdt32_t magic;
	int ret;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return error_set(err, -EEXIST, "is not a regular file: remove it");
	/* The lock may have been got because its holder has just renamed the file. */
	if (flock(fd, LOCK_EX | LOCK_NB) ||
	    fstatat(file->dir_fd, file->temp, &named, AT_SYMLINK_NOFOLLOW) ||
	    named.st_ino != st.st_ino || named.st_dev != st.st_dev)
		return error_set(err, -EBUSY, "another cprsave is writing it");
	if (!st.st_size)
		return 0;
	if (!checkpoint_read(&ckpt, file->dir_fd, file->temp, err)) {
		ret = check_spent(&ckpt, vm, err);
		checkpoint_free(&ckpt);
		return ret;
	}
	if (pread(fd, &magic, sizeof(magic), 0) != sizeof(magic) ||
	    fdt32_to_cpu(magic) != FDT_MAGIC)
		return error_set(err, -EEXIST, "is in the way and not of Stasis: remove it");
	return 0;
}

static int clear_leftover(const struct checkpoint_file *file, const struct vm *vm,
			  struct error *err)
{
	int fd = openat(file->dir_fd, file->temp, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int ret = 0;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0) {
		ret = error_set(err, -errno, "%s", strerror(errno));
	} else {
		ret = check_leftover(file, fd, vm, err);
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
	/* Nobody else ever had this file open, and nobody but its owner will. */
	file->fd = openat(file->dir_fd, file->temp,
			  O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (file->fd < 0)
		return error_set(err, -errno, "%s" CHECKPOINT_TEMP_SUFFIX ": %s", file->path,
				 strerror(errno));
	if (flock(file->fd, LOCK_EX | LOCK_NB)) {
		/* Another save took it for a leftover and will remove it: it is not ours any more. */
		close(file->fd);
		file->fd = -1;
		return error_set(err, -EBUSY,
				 "%s" CHECKPOINT_TEMP_SUFFIX ": another cprsave is writing it",
				 file->path);
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
	int ret = clear_leftover(file, vm, err);

	ret = ret ? ret : create_temp(file, room_bytes, err);
	/* With FILE.new ours, no other save can change FILE between this look and the rename. */
	ret = ret ? ret : check_replaceable(file, vm, err);
	/* FILE.new is what a killed save leaves behind: its name must be as durable as its data. */
	ret = ret ? ret : checkpoint_file_sync_folder(file, err);
	if (ret && file->fd >= 0)
		checkpoint_file_remove(file, false);
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

void checkpoint_file_remove(struct checkpoint_file *file, bool published)
{
	const char *name = published ? file->name : file->temp;

	if (unlinkat(file->dir_fd, name, 0) && errno != ENOENT)
		log_error("%s: cannot be removed: %s", name, strerror(errno));
	if (fsync(file->dir_fd))
		log_error("%s: fsync of its folder: %s", file->path, strerror(errno));
}
