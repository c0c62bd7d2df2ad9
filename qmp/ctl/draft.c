/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/ctl/draft.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/vms.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define DRAFT ".draft-" /* its folder's name begins so */

static int lock_folder(struct draft *draft, struct error *err)
{
	char *folder = vms_path("/etc/stasis");
	int ret = 0;

	draft->lock_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (draft->lock_fd < 0)
		ret = error_set(err, -errno, "%s: %s", folder, strerror(errno));
	else if (flock(draft->lock_fd, LOCK_EX | LOCK_NB))
		ret = error_set(
			err, -errno, "%s: %s", folder,
			errno == EWOULDBLOCK
				? "another stasisctl edits or creates a VM: wait for its end"
				: strerror(errno));
	free(folder);
	return ret;
}

/* Copies how the file is, too: its owner and who may read it. */
static int copy_file(const struct draft *draft, struct error *err)
{
	const int from = draft->is_new ? -1 : open(draft->file, O_RDONLY | O_CLOEXEC);
	const int to = open(draft->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	char buf[4096];
	ssize_t n = 0;
	int ret = 0;

	if (to < 0)
		ret = error_set(err, -errno, "%s: %s", draft->path, strerror(errno));
	else if (!draft->is_new && from < 0)
		ret = error_set(err, -errno, "%s: %s", draft->file, strerror(errno));
	while (!ret && from >= 0 && (n = read(from, buf, sizeof(buf))) > 0)
		if (write(to, buf, (size_t)n) != n)
			ret = error_set(err, -EIO, "%s: cannot be written", draft->path);
	if (!ret && n < 0)
		ret = error_set(err, -errno, "%s: %s", draft->file, strerror(errno));
	if (!ret && from >= 0 &&
	    (fchown(to, draft->was.st_uid, draft->was.st_gid) ||
	     fchmod(to, draft->was.st_mode & 07777)))
		ret = error_set(err, -errno, "%s: %s", draft->path, strerror(errno));
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return ret;
}

/* Those of a stasisctl that was killed, for whoever has the lock is alone. */
static void remove_others(void)
{
	char *parent = vms_path("/etc/stasis"), *folder;
	DIR *dir = opendir(parent);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, DRAFT, strlen(DRAFT)) != 0)
			continue;
		folder = ctl_text("%s/%s", parent, entry->d_name);
		(void)ctl_remove_folder(folder);
		free(folder);
	}
	if (dir)
		closedir(dir);
	free(parent);
}

int draft_open(struct draft *draft, const char *name, struct error *err)
{
	char *drop_ins = ctl_text("../%s.conf.d", name);
	int ret;

	*draft = (struct draft){.lock_fd = -1, .file = vms_path("/etc/stasis/%s.conf", name)};
	ret = lock_folder(draft, err);
	draft->is_new = stat(draft->file, &draft->was);
	if (!ret) {
		remove_others();
		draft->folder = vms_path("/etc/stasis/" DRAFT "XXXXXX");
		if (!mkdtemp(draft->folder)) {
			ret = error_set(err, -errno, "%s: %s", draft->folder, strerror(errno));
			free(draft->folder);
			draft->folder = NULL;
		}
	}
	if (!ret) {
		draft->path = ctl_text("%s/%s.conf", draft->folder, name);
		draft->drop_ins = ctl_text("%s.d", draft->path);
		if (symlink(drop_ins, draft->drop_ins))
			ret = error_set(err, -errno, "%s: %s", draft->drop_ins, strerror(errno));
	}
	free(drop_ins);
	return ret ? ret : copy_file(draft, err);
}

/* In place: "FOLDER/.draft-x/vm1.conf:3: ..." becomes "FOLDER/vm1.conf:3: ...". */
static void name_file(const struct draft *draft, char *text)
{
	const char *own = strrchr(draft->folder, '/');
	const size_t n = strlen(own);

	for (char *at = text; (at = strstr(at, own));)
		memmove(at, at + n, strlen(at + n) + 1);
}

int draft_check(const struct draft *draft, struct error *err)
{
	char *options;
	int ret = vms_show(draft->path, &options, err);

	if (ret)
		name_file(draft, err->msg);
	else
		free(options);
	return ret;
}

static bool is_as_it_was(const struct draft *draft)
{
	struct stat st;

	if (stat(draft->file, &st))
		return draft->is_new;
	return !draft->is_new && st.st_ino == draft->was.st_ino &&
	       st.st_size == draft->was.st_size && st.st_mtim.tv_sec == draft->was.st_mtim.tv_sec &&
	       st.st_mtim.tv_nsec == draft->was.st_mtim.tv_nsec;
}

int draft_install(const struct draft *draft, struct error *err)
{
	const int fd = open(draft->path, O_RDONLY | O_CLOEXEC);
	int ret = fd < 0 || fsync(fd) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	if (!ret && !is_as_it_was(draft))
		return error_set(err, -EBUSY, "%s: was changed by somebody else meanwhile",
				 draft->file);
	if (!ret && rename(draft->path, draft->file))
		ret = -errno;
	if (!ret && fsync(draft->lock_fd))
		ret = -errno;
	return ret ? error_set(err, ret, "%s: %s", draft->file, strerror(-ret)) : 0;
}

void draft_close(struct draft *draft)
{
	/* With what an editor has left there. */
	const int ret = draft->folder ? ctl_remove_folder(draft->folder) : 0;

	if (ret)
		ctl_complain("%s: stays behind: %s", draft->folder, strerror(-ret));
	if (draft->lock_fd >= 0)
		close(draft->lock_fd);
	free(draft->path);
	free(draft->file);
	free(draft->folder);
	free(draft->drop_ins);
}
