/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/checkpoint.h"
#include "ram/ram.h"
#include "vmm/base/bytes.h"
#include "vmm/base/file.h"
#include "vmm/base/log.h"
#include "vmm/base/uuid.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* Big-endian, as everything in the tree before it. */
struct trailer {
	char magic[8];
	uint32_t format;
	uint32_t trailer_bytes;
	uint64_t tree_bytes;
	uint8_t zero[24];
	XXH128_canonical_t hash; /* XXH3-128 of the tree and of the trailer up to here */
};
_Static_assert(sizeof(struct trailer) == CHECKPOINT_TRAILER_BYTES, "trailer layout");

#define FORMAT_BEFORE_RELEASE 1 /* its container is the same */

static const char trailer_magic[8] = {'S', 'T', 'A', 'S', 'I', 'S', 'C', 'P'};

static void hash_of(const uint8_t *data, size_t tree_bytes, XXH128_canonical_t *hash)
{
	XXH128_canonicalFromHash(hash,
				 XXH3_128bits(data, tree_bytes + offsetof(struct trailer, hash)));
}

int checkpoint_reserve(struct checkpoint *ckpt, const struct state_section *section, uint32_t n,
		       struct error *err)
{
	/* Header, empty reserve map, end tokens. */
	size_t bytes = 4096 + sizeof(struct trailer);

	for (uint32_t i = 0; i < n; i++)
		bytes += sizeof(section[i].name) + 16 + state_max_bytes(section[i].desc);
	if (bytes > CHECKPOINT_MAX_BYTES)
		return error_set(err, -E2BIG, "the checkpoint may take %zu bytes, at most %u",
				 bytes, CHECKPOINT_MAX_BYTES);
	ckpt->data = malloc(bytes);
	if (!ckpt->data)
		return error_set(err, -ENOMEM, "checkpoint: out of memory");
	/* Page faults now, while the guest still runs. */
	memset(ckpt->data, 0, bytes);
	ckpt->buffer_bytes = bytes;
	ckpt->size_bytes = 0;
	return 0;
}

void checkpoint_free(struct checkpoint *ckpt)
{
	free(ckpt->data);
	*ckpt = (struct checkpoint){0};
}

static int build_tree(void *fdt, size_t room, const struct state_section *section, uint32_t n,
		      struct error *err)
{
	/* libfdt looks for a name that is there already at every byte of all names: more time than
	 * everything else here takes, to save some hundred bytes. */
	int bad = fdt_create_with_flags(fdt, (int)room, FDT_CREATE_FLAG_NO_NAME_DEDUP), ret;

	bad = bad ? bad : fdt_finish_reservemap(fdt);
	for (uint32_t i = 0; !bad && i < n; i++) {
		bad = fdt_begin_node(fdt, section[i].name);
		if (bad)
			break;
		ret = state_save(fdt, section[i].desc, section[i].state, err);
		if (ret) {
			error_prefix(err, "checkpoint node '%s'", section[i].name);
			return ret;
		}
		if (i) /* the first one is the root: the others lie in it */
			bad = fdt_end_node(fdt);
	}
	bad = bad ? bad : fdt_end_node(fdt);
	bad = bad ? bad : fdt_finish(fdt);
	return bad ? error_set(err, -ENOSPC, "checkpoint: %s", fdt_strerror(bad)) : 0;
}

int checkpoint_build(struct checkpoint *ckpt, const struct state_section *section, uint32_t n,
		     struct error *err)
{
	struct trailer trailer = {
		.format = htobe32(CHECKPOINT_FORMAT),
		.trailer_bytes = htobe32(sizeof(trailer)),
	};
	size_t tree_bytes;
	int ret = build_tree(ckpt->data, ckpt->buffer_bytes - sizeof(trailer), section, n, err);

	if (ret)
		return ret;
	tree_bytes = fdt_totalsize(ckpt->data);
	memcpy(trailer.magic, trailer_magic, sizeof(trailer.magic));
	trailer.tree_bytes = htobe64(tree_bytes);
	memcpy(ckpt->data + tree_bytes, &trailer, sizeof(trailer));
	hash_of(ckpt->data, tree_bytes, &trailer.hash);
	memcpy(ckpt->data + tree_bytes, &trailer, sizeof(trailer));
	ckpt->size_bytes = tree_bytes + sizeof(trailer);
	return 0;
}

static struct trailer trailer_of(const struct checkpoint *ckpt)
{
	struct trailer trailer;

	memcpy(&trailer, ckpt->data + ckpt->size_bytes - sizeof(trailer), sizeof(trailer));
	return trailer;
}

static int verify_trailer(const struct checkpoint *ckpt, struct error *err)
{
	static const uint8_t zero[sizeof(((struct trailer *)0)->zero)];
	size_t tree_bytes = ckpt->size_bytes - sizeof(struct trailer);
	struct trailer trailer;
	XXH128_canonical_t hash;

	if (ckpt->size_bytes < sizeof(trailer) + sizeof(struct fdt_header))
		return error_set(err, -EINVAL, "not a checkpoint: only %zu bytes",
				 ckpt->size_bytes);
	trailer = trailer_of(ckpt);
	if (memcmp(trailer.magic, trailer_magic, sizeof(trailer_magic)))
		return error_set(err, -EINVAL, "%s",
				 fdt_magic(ckpt->data) == FDT_MAGIC
					 ? "truncated: the trailer is missing at its end"
					 : "not a checkpoint");
	if (be32toh(trailer.format) != CHECKPOINT_FORMAT &&
	    be32toh(trailer.format) != FORMAT_BEFORE_RELEASE)
		return error_set(err, -ENOTSUP, "format %u, this build reads format %u",
				 be32toh(trailer.format), CHECKPOINT_FORMAT);
	if (be32toh(trailer.trailer_bytes) != sizeof(trailer) ||
	    memcmp(trailer.zero, zero, sizeof(zero)))
		return error_set(err, -EINVAL, "damaged: its trailer has unknown content");
	if (be64toh(trailer.tree_bytes) != tree_bytes)
		return error_set(err, -EINVAL, "damaged: its trailer says %llu bytes, it has %zu",
				 (unsigned long long)be64toh(trailer.tree_bytes), tree_bytes);
	hash_of(ckpt->data, tree_bytes, &hash);
	if (memcmp(&hash, &trailer.hash, sizeof(hash)))
		return error_set(err, -EINVAL, "damaged: its content does not match its checksum");
	return 0;
}

/* An intact one of a version before 1.0.0, whose nodes are others. */
static int refuse_before_release(const void *fdt, struct error *err)
{
	int node = fdt_subnode_offset(fdt, 0, "vmm"), len = 0;
	const char *version = node < 0 ? NULL : fdt_getprop(fdt, node, "version", &len);
	char shown[STATE_SHOWN_BYTES];

	return error_set(err, -ENOTSUP,
			 "was saved by stasis %s: only the version that saved it can load a "
			 "checkpoint from before 1.0.0",
			 version && len > 0 && !version[len - 1] ? state_shown(version, shown)
								 : "of an unknown version");
}

int checkpoint_verify(const struct checkpoint *ckpt, struct error *err)
{
	int bad, len, ret = verify_trailer(ckpt, err);
	const char *compatible;

	if (ret)
		return ret;
	bad = fdt_check_full(ckpt->data, ckpt->size_bytes - sizeof(struct trailer));
	if (bad || fdt_totalsize(ckpt->data) != ckpt->size_bytes - sizeof(struct trailer))
		return error_set(err, -EINVAL, "damaged: its tree is broken: %s",
				 bad ? fdt_strerror(bad) : "wrong size");
	compatible = fdt_getprop(ckpt->data, 0, "compatible", &len);
	if (!compatible || len != sizeof(CHECKPOINT_COMPATIBLE) ||
	    memcmp(compatible, CHECKPOINT_COMPATIBLE, sizeof(CHECKPOINT_COMPATIBLE)))
		return error_set(err, -EINVAL,
				 "a device tree, but not a checkpoint: it is not compatible with "
				 "'" CHECKPOINT_COMPATIBLE "'");
	return be32toh(trailer_of(ckpt).format) == CHECKPOINT_FORMAT
		       ? 0
		       : refuse_before_release(ckpt->data, err);
}

static int read_all(int fd, uint8_t *to, size_t size, struct error *err)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, to + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(err, n ? -errno : -EIO, "%s",
					 n ? strerror(errno) : "became shorter while it was read");
		done += (size_t)n;
	}
	return 0;
}

int checkpoint_check_owner(const struct stat *st, struct error *err)
{
	if (!st->st_uid || st->st_uid == geteuid())
		return 0;
	return error_set(err, -EPERM,
			 "belongs to user %u, neither to root nor to user %u, whose VM this is: "
			 "chown it if it is to be trusted",
			 st->st_uid, geteuid());
}

static int read_fd(struct checkpoint *ckpt, int fd, bool any_owner, struct error *err)
{
	struct stat st;
	size_t size;
	int ret;

	if (fstat(fd, &st))
		return error_set(err, -EIO, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "not a regular file");
	ret = any_owner ? 0 : checkpoint_check_owner(&st, err);
	if (ret)
		return ret;
	if (st.st_size > CHECKPOINT_MAX_BYTES)
		return error_set(err, -E2BIG, "not a checkpoint: %lld bytes, at most %u",
				 (long long)st.st_size, CHECKPOINT_MAX_BYTES);
	size = (size_t)st.st_size;
	ckpt->data = malloc(size ? size : 1);
	if (!ckpt->data)
		return error_set(err, -ENOMEM, "out of memory");
	ckpt->size_bytes = ckpt->buffer_bytes = size;
	return read_all(fd, ckpt->data, size, err);
}

int checkpoint_read(struct checkpoint *ckpt, int dir_fd, const char *path, bool any_owner,
		    struct error *err)
{
	/* O_NONBLOCK: a FIFO must not hold us up. */
	int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int ret;

	*ckpt = (struct checkpoint){0};
	if (fd < 0)
		return error_set(err, -errno, "%s: %s", path,
				 errno == ELOOP ? "is a symbolic link: name the file itself"
						: strerror(errno));
	ret = read_fd(ckpt, fd, any_owner, err);
	close(fd);
	ret = ret ? ret : checkpoint_verify(ckpt, err);
	if (ret) {
		error_prefix(err, "%s", path);
		checkpoint_free(ckpt);
	}
	return ret;
}

static uint32_t find_section(const struct state_section *section, uint32_t n, const char *name)
{
	uint32_t i = 0;

	while (i < n && strcmp(section[i].name, name))
		i++;
	return i;
}

static int load_node(const void *fdt, int node, const struct state_section *section,
		     struct error *err)
{
	int ret = state_load(fdt, node, section->desc, section->state, err);

	if (ret)
		return ret;
	if (*section->name && fdt_first_subnode(fdt, node) >= 0)
		return error_set(err, -ENOTSUP,
				 "%s: a node within it is not known here: written by a newer "
				 "version",
				 section->name);
	return 0;
}

/* One walk over the tree: a look-up by name for each section would be a walk each. */
int checkpoint_load(const struct checkpoint *ckpt, const struct state_section *section, uint32_t n,
		    bool all, struct error *err)
{
	const void *fdt = ckpt->data;
	bool *seen = calloc(n + 1, sizeof(*seen));
	char shown[STATE_SHOWN_BYTES];
	int node, ret;

	if (!seen)
		return error_set(err, -ENOMEM, "checkpoint: out of memory");
	ret = load_node(fdt, 0, &section[0], err);
	seen[0] = true;
	if (ret)
		goto free_seen;
	fdt_for_each_subnode (node, fdt, 0) {
		const char *name = fdt_get_name(fdt, node, NULL);
		uint32_t i = find_section(section, n, name ? name : "");

		if (i == n && !all)
			continue;
		if (i == n)
			ret = error_set(err, -ENOTSUP,
					"checkpoint has '%s', which is not known here: written "
					"by a newer version",
					state_shown(name, shown));
		else if (seen[i])
			ret = error_set(err, -EINVAL, "checkpoint has '%s' twice",
					state_shown(name, shown));
		else
			ret = load_node(fdt, node, &section[i], err);
		if (ret)
			goto free_seen;
		seen[i] = true;
	}
	for (uint32_t i = 0; i < n && !ret; i++)
		if (!seen[i])
			ret = error_set(err, -EINVAL, "checkpoint has no '%s'", section[i].name);
free_seen:
	free(seen);
	return ret;
}

int checkpoint_read_head(struct snapshot **out, int dir_fd, const char *path, struct error *err)
{
	struct snapshot *head = calloc(1, sizeof(*head));
	struct checkpoint ckpt;
	int ret;

	if (!head)
		return error_set(err, -ENOMEM, "out of memory");
	snapshot_head_sections(head);
	ret = checkpoint_read(&ckpt, dir_fd, path, false, err);
	if (!ret)
		ret = checkpoint_load(&ckpt, head->section, head->nsections, false, err);
	checkpoint_free(&ckpt);
	if (ret)
		snapshot_free(head);
	else
		*out = head;
	return ret;
}

/* --- its way to the disk */

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
	ret = checkpoint_read_head(&head, file->dir_fd, name, err);
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

/* What the name of the descriptor's file has after file->path. A rename that reports an error may
 * have worked. */
static const char *suffix_now(const struct checkpoint_file *file)
{
	struct stat st;

	return !fstat(file->fd, &st) && file_is_named(file->dir_fd, file->name, &st)
		       ? ""
		       : CHECKPOINT_TEMP_SUFFIX;
}

void checkpoint_file_void(struct checkpoint_file *file)
{
	int ret = ftruncate(file->fd, 0) || fsync(file->fd) ? -errno : 0;

	/* Before the rename FILE may be an older checkpoint, and a good one. */
	if (ret)
		log_error("%s%s: cannot be emptied (%s): remove it, it must not be loaded",
			  file->path, suffix_now(file), strerror(-ret));
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

int checkpoint_file_check(const char *path, const struct vm *vm, struct error *err)
{
	struct checkpoint_file file;
	int ret = checkpoint_file_open(&file, path, err);

	if (!ret && faccessat(file.dir_fd, ".", W_OK | X_OK, AT_EACCESS))
		ret = error_set(err, -errno, "%s: its folder cannot be written to: %s", path,
				strerror(errno));
	if (!ret && vm)
		ret = check_replaceable(&file, file.name, check_spent, vm, err);
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
