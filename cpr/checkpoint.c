/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/checkpoint.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
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
			 "was saved by stasis %s: checkpoints from before 1.0.0 are loaded by the "
			 "version that saved them alone",
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
		return error_set(err, -errno, "%s", strerror(errno));
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

static int read_path(struct checkpoint *ckpt, int dir_fd, const char *path, bool any_owner,
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

int checkpoint_read(struct checkpoint *ckpt, int dir_fd, const char *path, struct error *err)
{
	return read_path(ckpt, dir_fd, path, false, err);
}

int checkpoint_read_to_inspect(struct checkpoint *ckpt, const char *path, struct error *err)
{
	return read_path(ckpt, AT_FDCWD, path, true, err);
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
