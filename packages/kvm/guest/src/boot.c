/* From the kernel's initramfs to the image's root. Only what this machine has is loaded: every module costs milliseconds. */
#include "guest.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <linux/random.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <unistd.h>

/* Held open, because the first root is out of reach later. */
static int modules = -1, files = -1;

void boot_mounts(void) {
  mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
  mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  /* 0, 1 and 2 are taken, so that no file of ours gets these numbers. */
  while (open("/dev/null", O_RDWR) < 2) {
  }
  modules = open("/modules", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  files = open("/files", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void load(const char *name) {
  char path[128];
  int fd;
  snprintf(path, sizeof path, "%s.ko", name);
  fd = openat(modules, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return; /* built into this kernel */
  if (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST) say("cannot load %s: %s", name, strerror(errno));
  close(fd);
}

void boot_modules(const char *const *names) {
  for (; *names; names++) load(*names);
}

static int folder_has(const char *folder, const char *prefix) {
  DIR *entries = opendir(folder);
  struct dirent *entry;
  int found = 0;
  if (!entries) return 0;
  while (!found && (entry = readdir(entries))) found = strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && entry->d_name[0] != '.';
  closedir(entries);
  return found;
}

/* Device ids of the virtio specification, section 5. */
static const char *const BLOCK[] = {"virtio_blk", NULL}, *const NET[] = {"failover", "net_failover", "virtio_net", NULL},
                  *const CONSOLE[] = {"virtio_console", NULL}, *const RNG[] = {"virtio-rng", NULL}, *const BALLOON[] = {"virtio_balloon", NULL},
                  *const SHARE[] = {"fuse", "virtiofs", NULL}, *const PLAN9[] = {"9pnet", "9pnet_virtio", "netfs", "fscache", "9p", NULL};
static const struct {
  const char *id;
  const char *const *modules;
} DRIVERS[] = {{"0x0001", NET}, {"0x0002", BLOCK}, {"0x0003", CONSOLE}, {"0x0004", RNG}, {"0x0005", BALLOON}, {"0x0009", PLAN9}, {"0x001a", SHARE}};

static void drive(const char *id) {
  size_t at;
  for (at = 0; at < sizeof DRIVERS / sizeof DRIVERS[0]; at++)
    if (strncmp(id, DRIVERS[at].id, 6) == 0) boot_modules(DRIVERS[at].modules);
}

void boot_virtio(void) {
  /* Built into one of the two kernels that this runs under. */
  static const char *const ext4[] = {"crc32c_generic", "crc16", "mbcache", "jbd2", "ext4", NULL};
  static const char *const core[] = {"virtio_ring", "virtio", NULL}, *const pci[] = {"virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", NULL},
                    *const mmio[] = {"virtio_mmio", NULL};
  char path[300], id[16];
  struct dirent *entry;
  DIR *entries;
  boot_modules(core);
  boot_modules(ext4);
  if (folder_has("/sys/bus/pci/devices", "")) boot_modules(pci);
  if (folder_has("/sys/bus/acpi/devices", "LNRO0005")) boot_modules(mmio);
  entries = opendir("/sys/bus/virtio/devices");
  if (!entries) return;
  while ((entry = readdir(entries))) {
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/sys/bus/virtio/devices/%s/device", entry->d_name);
    if (read_text(path, id, sizeof id) > 0) drive(id);
  }
  closedir(entries);
}

void boot_later_modules(void) {
  static const char *const late[] = {"button", "evdev", NULL};
  if (fork() != 0) return;
  drive("0x0001");
  drive("0x0002");
  drive("0x0003");
  drive("0x0005");
  boot_modules(late);
  _exit(0);
}

/* The block device of this serial, into `device`. */
static int find_disk(const char *serial, char *device, size_t size) {
  DIR *entries = opendir("/sys/block");
  struct dirent *entry;
  char path[300], text[64];
  int found = -1;
  snprintf(device, size, "/dev/%s", serial);
  if (access(device, F_OK) == 0) return 0; /* vda, where a disk has no serial */
  if (!entries) return -1;
  while (found < 0 && (entry = readdir(entries))) {
    snprintf(path, sizeof path, "/sys/block/%s/serial", entry->d_name);
    if (read_text(path, text, sizeof text) <= 0) continue;
    text[strcspn(text, "\n")] = 0;
    if (strcmp(text, serial) != 0) continue;
    snprintf(device, size, "/dev/%s", entry->d_name);
    found = 0;
  }
  closedir(entries);
  return found;
}

/* A disk may be larger than what is on it; ext4 grows while it is mounted. Superblock: Documentation/filesystems/ext4/super.rst. */
static void grow(const char *device, const char *mounted) {
  unsigned char super[32];
  uint64_t bytes = 0, blocks;
  uint32_t count, shift;
  int disk = open(device, O_RDONLY | O_CLOEXEC), root;
  if (disk < 0) return;
  ioctl(disk, BLKGETSIZE64, &bytes);
  pread(disk, super, sizeof super, 1024);
  close(disk);
  memcpy(&count, super + 4, 4);
  memcpy(&shift, super + 24, 4);
  blocks = bytes >> (10 + shift);
  if (blocks <= count) return;
  root = open(mounted, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (ioctl(root, _IOW('f', 16, uint64_t), &blocks) != 0) say("cannot grow the root file system: %s", strerror(errno)); /* EXT4_IOC_RESIZE_FS */
  close(root);
}

int boot_root(const struct spec *spec, const char **why) {
  const char *serial = spec_get(spec, "root", "");
  char device[64];
  if (serial[0] == 0) return 0;
  mkdir("/newroot", 0755);
  *why = "the machine has no disk with the serial of its root";
  if (find_disk(serial, device, sizeof device) != 0) return -1;
  *why = "mounting the root disk failed";
  /* noinit_itable: a fresh file system would otherwise be filled in by a kernel thread while the command runs. */
  if (mount(device, "/newroot", "ext4", 0, "noinit_itable") != 0) return -1;
  grow(device, "/newroot");
  mkdir("/newroot/dev", 0755);
  mkdir("/newroot/proc", 0755);
  mkdir("/newroot/sys", 0755);
  mount("/dev", "/newroot/dev", NULL, MS_MOVE, NULL);
  mount("/proc", "/newroot/proc", NULL, MS_MOVE, NULL);
  mount("/sys", "/newroot/sys", NULL, MS_MOVE, NULL);
  /* As switch_root(8): the kernel's first root cannot be unmounted or pivoted away from. */
  *why = "entering the root disk failed";
  if (chdir("/newroot") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0) return -1;
  return 0;
}


/* `share` is KIND:TAG:MODE:TARGET, of which only the target may hold a colon. */
static void mount_share(const char *value, void *to) {
  char text[4400], *kind, *tag, *mode, *target, *rest = text, device[64];
  unsigned long flags;
  (void)to;
  if (strlen(value) >= sizeof text) return;
  strcpy(text, value);
  kind = strsep(&rest, ":");
  tag = strsep(&rest, ":");
  mode = strsep(&rest, ":");
  target = rest;
  if (!target || target[0] != '/') return;
  flags = strcmp(mode, "ro") == 0 ? MS_RDONLY : 0;
  make_folders(target);
  mkdir(target, 0755);
  if (strcmp(kind, "disk") == 0) {
    if (find_disk(tag, device, sizeof device) == 0 && mount(device, target, "ext4", flags, "noinit_itable") == 0) return;
  } else if (mount(tag, target, kind, flags, strcmp(kind, "9p") == 0 ? "trans=virtio,version=9p2000.L,msize=262144" : NULL) == 0) {
    return;
  }
  say("cannot mount %s at %s: %s", tag, target, strerror(errno));
}

/* An image that has this as a link keeps it: the link might leave what it is meant for. */
static void place(const char *path, const char *text) {
  struct stat info;
  if (lstat(path, &info) == 0 && !S_ISREG(info.st_mode)) return;
  write_text(path, text);
}

static void seed_random(const char *hex) {
  struct {
    struct rand_pool_info info;
    unsigned char bytes[64];
  } pool;
  int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
  size_t length = 0;
  unsigned byte;
  while (length < sizeof pool.bytes && sscanf(hex + 2 * length, "%2x", &byte) == 1) pool.bytes[length++] = byte;
  pool.info.entropy_count = length * 8;
  pool.info.buf_size = length;
  memcpy(pool.info.buf, pool.bytes, length);
  if (fd < 0) return;
  if (length > 0) ioctl(fd, RNDADDENTROPY, &pool);
  ioctl(fd, RNDRESEEDCRNG);
  close(fd);
}

/* Time, random seed and name: what a machine must not share with the one whose memory it woke from. */
void boot_identity(const struct spec *spec) {
  const char *name = spec_get(spec, "hostname", ""), *epoch = spec_get(spec, "epoch", "");
  char text[800];
  if (epoch[0]) {
    long long ms = atoll(epoch);
    struct timeval now = {ms / 1000, ms % 1000 * 1000};
    settimeofday(&now, NULL);
  }
  seed_random(spec_get(spec, "seed", ""));
  if (name[0] == 0) return;
  sethostname(name, strlen(name));
  snprintf(text, sizeof text, "%s\n", name);
  place("/etc/hostname", text);
  snprintf(text, sizeof text, "127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 %s\n", name);
  place("/etc/hosts", text);
}

void boot_system(const struct spec *spec) {
  mkdir("/dev/pts", 0755);
  mkdir("/dev/shm", 01777);
  mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666");
  mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
  mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids");
  mkdir(CGROUPS, 0755);
  write_text(CGROUPS "/cgroup.subtree_control", "+memory +pids");
  symlink("/proc/self/fd", "/dev/fd");
  symlink("/proc/self/fd/0", "/dev/stdin");
  symlink("/proc/self/fd/1", "/dev/stdout");
  symlink("/proc/self/fd/2", "/dev/stderr");
  mkdir("/etc", 0755);
  boot_identity(spec);
  spec_each(spec, "share", mount_share, NULL);
}

static void copy_file(int from, int to) {
  char bytes[16384];
  ssize_t got;
  while ((got = read(from, bytes, sizeof bytes)) > 0) write(to, bytes, got);
}

/* `file` is MODE:INDEX:PATH; the content is /files/INDEX of the initramfs. */
static void place_file(const char *value, void *to) {
  char index[16], *path;
  unsigned long mode = strtoul(value, &path, 8);
  int from, into;
  (void)to;
  snprintf(index, sizeof index, "%lu", strtoul(path + 1, &path, 10));
  path++;
  make_folders(path);
  from = openat(files, index, O_RDONLY | O_CLOEXEC);
  into = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (from >= 0 && into >= 0) {
    copy_file(from, into);
    fchmod(into, mode);
  } else {
    say("cannot place a file: %s", strerror(errno));
  }
  if (from >= 0) close(from);
  if (into >= 0) close(into);
}

void boot_files(const struct spec *spec) {
  const char *folder = spec_get(spec, "workdir", "/");
  make_folders(folder);
  mkdir(folder, 0755);
  if (chdir(folder) == 0) spec_each(spec, "file", place_file, NULL);
  chdir("/");
}
