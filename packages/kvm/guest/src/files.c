/* Work on files for the host, in a child, without any program of the image. Records of a tree, both ways, are the ASCII fields
 * TYPE MODE UID GID MTIME SIZE, then path and link target, each NUL-ended, then SIZE bytes. TYPE: f d l o(ther). */
#include "guest.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static char kind_of(mode_t mode) { return S_ISREG(mode) ? 'f' : S_ISDIR(mode) ? 'd' : S_ISLNK(mode) ? 'l' : 'o'; }

static int put(int fd, const void *bytes, size_t length) {
  size_t at = 0;
  while (at < length) {
    ssize_t wrote = write(fd, (const char *)bytes + at, length - at);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return errno;
    at += wrote;
  }
  return 0;
}

/* At most `size` bytes; a file that grows meanwhile is cut there, one that shrinks is filled up with zeros. */
static int copy(int from, int to, long long size) {
  static char bytes[65536];
  while (size != 0) {
    size_t most = size > 0 && size < (long long)sizeof bytes ? (size_t)size : sizeof bytes;
    ssize_t got = read(from, bytes, most);
    int failed;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0 && size < 0) return 0;
    if (got == 0) {
      memset(bytes, 0, most);
      got = most;
    }
    failed = put(to, bytes, got);
    if (failed) return failed;
    if (size > 0) size -= got;
  }
  return 0;
}

static int read_file(const char *path) {
  struct stat info;
  int fd = open(path, O_RDONLY | O_NONBLOCK);
  if (fd < 0) return errno;
  if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) return EISDIR;
  return copy(fd, 1, -1);
}

/* A file without a name until it is whole: nobody sees a half, and nothing is left when this process is killed. A folder of the host
 * (9p) has only files with names: there it has one of its own meanwhile. */
static int write_file(const char *path, mode_t mode) {
  char whole[4096], folder[4096], beside[4200], self[64], *slash;
  unsigned number = 0;
  int fd, named, failed = make_folders(path);
  if (failed) return failed;
  /* A link is written through, as a shell's `>` does. */
  if (!realpath(path, whole)) snprintf(whole, sizeof whole, "%s", path);
  strcpy(folder, whole);
  slash = strrchr(folder, '/');
  if (slash == folder) slash[1] = 0;
  else if (slash) *slash = 0;
  getrandom(&number, sizeof number, 0); /* other machines may write to the same folder of the host */
  snprintf(beside, sizeof beside, "%s/.vmkit-%08x", slash ? folder : ".", number);
  fd = open(slash ? folder : ".", O_WRONLY | O_TMPFILE, mode);
  named = fd < 0 && errno == EOPNOTSUPP;
  if (named) fd = open(beside, O_WRONLY | O_CREAT | O_EXCL, mode);
  if (fd < 0) return errno;
  failed = copy(0, fd, -1);
  if (!failed && fchmod(fd, mode) != 0) failed = errno;
  snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  if (!failed && !named && linkat(AT_FDCWD, self, AT_FDCWD, beside, AT_SYMLINK_FOLLOW) != 0) failed = errno;
  if (!failed && rename(beside, whole) != 0) failed = errno;
  if (failed) unlink(beside);
  close(fd);
  return failed;
}

static int record(const char *path, const char *name, const struct stat *info, long long size) {
  char fields[160], target[4096] = "";
  int length = snprintf(fields, sizeof fields, "%c %o %u %u %lld %lld", kind_of(info->st_mode), info->st_mode & 07777, info->st_uid, info->st_gid,
                        (long long)info->st_mtim.tv_sec * 1000 + info->st_mtim.tv_nsec / 1000000, size);
  int failed = put(1, fields, length + 1);
  if (S_ISLNK(info->st_mode)) {
    ssize_t got = readlink(path, target, sizeof target - 1);
    target[got > 0 ? got : 0] = 0;
  }
  if (!failed) failed = put(1, name, strlen(name) + 1);
  return failed ? failed : put(1, target, strlen(target) + 1);
}

static int list_folder(const char *path) {
  DIR *entries = opendir(path);
  struct dirent *entry;
  struct stat info;
  int failed = 0;
  if (!entries) return errno;
  if (chdir(path) != 0) return errno;
  while (!failed && (entry = readdir(entries))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || lstat(entry->d_name, &info) != 0) continue;
    failed = record(entry->d_name, entry->d_name, &info, info.st_size);
  }
  return failed;
}

static int remove_tree(const char *path) {
  struct stat info;
  DIR *entries;
  struct dirent *entry;
  char below[4096];
  int failed = 0;
  if (lstat(path, &info) != 0) return errno;
  if (!S_ISDIR(info.st_mode)) return unlink(path) == 0 ? 0 : errno;
  entries = opendir(path);
  if (!entries) return errno;
  while (!failed && (entry = readdir(entries))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= (int)sizeof below) failed = ENAMETOOLONG;
    else failed = remove_tree(below);
  }
  closedir(entries);
  if (failed) return failed;
  return rmdir(path) == 0 ? 0 : errno;
}

/* `name` is the path below what is packed; empty for that itself. */
static int pack(const char *path, const char *name) {
  struct stat info;
  DIR *entries;
  struct dirent *entry;
  char below[4096], below_name[4096];
  int failed, fd;
  if (lstat(path, &info) != 0) return errno == ENOENT && name[0] ? 0 : errno; /* gone meanwhile */
  if (S_ISREG(info.st_mode)) {
    fd = open(path, O_RDONLY);
    if (fd < 0) return errno;
    failed = record(path, name, &info, info.st_size);
    if (!failed) failed = copy(fd, 1, info.st_size);
    close(fd);
    return failed;
  }
  failed = record(path, name, &info, 0);
  if (failed || !S_ISDIR(info.st_mode)) return failed;
  entries = opendir(path);
  if (!entries) return errno;
  while (!failed && (entry = readdir(entries))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= (int)sizeof below) return ENAMETOOLONG;
    snprintf(below_name, sizeof below_name, "%s%s%s", name, name[0] ? "/" : "", entry->d_name);
    failed = pack(below, below_name);
  }
  closedir(entries);
  return failed;
}

/* Up to a NUL, from stdin. -1 at the end of all, -2 when cut off or too long. */
static int next_text(char *text, size_t size) {
  size_t at = 0;
  int byte;
  while ((byte = getchar()) > 0) {
    if (at + 1 >= size) return -2;
    text[at++] = byte;
  }
  text[at] = 0;
  return byte == 0 ? 0 : at == 0 ? -1 : -2;
}

static int place(char kind, const char *path, const char *target, mode_t mode, long long size) {
  struct stat info;
  int fd, byte;
  if (path[0] && (fd = make_folders(path)) != 0) return fd;
  if (kind == 'd') {
    if (path[0] && mkdir(path, 0755) != 0 && errno != EEXIST) return errno;
    return chmod(path[0] ? path : ".", mode) == 0 ? 0 : errno;
  }
  if (lstat(path, &info) == 0 && !S_ISDIR(info.st_mode)) unlink(path);
  if (kind == 'l') return symlink(target, path) == 0 ? 0 : errno;
  if (kind == 'h') return link(target, path) == 0 ? 0 : errno;
  fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) return errno;
  while (size > 0) {
    static char bytes[65536];
    size_t got = fread(bytes, 1, size < (long long)sizeof bytes ? (size_t)size : sizeof bytes, stdin);
    if (got == 0) return EIO;
    if ((byte = put(fd, bytes, got)) != 0) return byte;
    size -= got;
  }
  if (fchmod(fd, mode) != 0) return errno;
  close(fd);
  return 0;
}

static int unpack(const char *folder) {
  char fields[200], path[4096], target[4096], kind;
  unsigned mode, uid, gid;
  long long mtime, size;
  int got, failed = make_folders(folder);
  if (failed) return failed;
  if (mkdir(folder, 0755) != 0 && errno != EEXIST) return errno;
  if (chdir(folder) != 0) return errno;
  while ((got = next_text(fields, sizeof fields)) == 0) {
    if (next_text(path, sizeof path) != 0 || next_text(target, sizeof target) != 0) return EPROTO;
    if (sscanf(fields, "%c %o %u %u %lld %lld", &kind, &mode, &uid, &gid, &mtime, &size) != 6) return EPROTO;
    failed = place(kind, path, target, mode, size);
    if (failed) return failed;
    struct timespec times[2] = {{.tv_sec = mtime / 1000, .tv_nsec = mtime % 1000 * 1000000}, {.tv_sec = mtime / 1000, .tv_nsec = mtime % 1000 * 1000000}};
    if (kind == 'h') continue;
    if (lchown(path[0] ? path : ".", uid, gid) == 0 && kind != 'l') chmod(path[0] ? path : ".", mode); /* a change of owner clears set-uid bits */
    utimensat(AT_FDCWD, path[0] ? path : ".", times, AT_SYMLINK_NOFOLLOW);
  }
  return got == -1 ? 0 : EPROTO;
}

/* INTERFACE ADDRESS, a line each; without the loopback's. */
static int addresses(void) {
  struct ifaddrs *all, *at;
  char text[64];
  if (getifaddrs(&all) != 0) return errno;
  for (at = all; at; at = at->ifa_next) {
    if (!at->ifa_addr || (at->ifa_flags & IFF_LOOPBACK)) continue;
    if (at->ifa_addr->sa_family == AF_INET) inet_ntop(AF_INET, &((struct sockaddr_in *)at->ifa_addr)->sin_addr, text, sizeof text);
    else if (at->ifa_addr->sa_family == AF_INET6) inet_ntop(AF_INET6, &((struct sockaddr_in6 *)at->ifa_addr)->sin6_addr, text, sizeof text);
    else continue;
    printf("%s %s\n", at->ifa_name, text);
  }
  fflush(stdout);
  return 0;
}

int files_work(const struct spec *spec) {
  const char *work = spec_get(spec, "work", ""), *path = spec_get(spec, "path", "");
  if (strcmp(work, "addresses") == 0) return addresses();
  if (path[0] == 0) return EINVAL;
  if (strcmp(work, "read") == 0) return read_file(path);
  if (strcmp(work, "write") == 0) return write_file(path, strtoul(spec_get(spec, "mode", "644"), NULL, 8));
  if (strcmp(work, "list") == 0) return list_folder(path);
  if (strcmp(work, "remove") == 0) return remove_tree(path);
  if (strcmp(work, "pack") == 0) return pack(path, "");
  if (strcmp(work, "unpack") == 0) return unpack(path);
  return ENOSYS;
}
