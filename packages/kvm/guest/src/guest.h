/* The vmkit guest: PID 1 of a machine that was made from an image or a root file system.
 * It is static, needs nothing of the image, and speaks to the host over virtio-serial ports (see ../README.md). */
#ifndef GUEST_H
#define GUEST_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MAX_ARGS 1024

/* What to run, as the host wrote it: NUL-ended keys and values in turn. Values are never interpreted by a shell. */
struct spec {
  char *bytes;
  size_t length;
};
/* Calls `each` for every value of the key, in order. */
void spec_each(const struct spec *spec, const char *key, void (*each)(const char *value, void *to), void *to);
/* The last value of the key, or `otherwise`. */
const char *spec_get(const struct spec *spec, const char *key, const char *otherwise);
int spec_load(struct spec *spec, const char *path);

/* boot.c */
void boot_mounts(void);
void boot_modules(const char *const *names);
void boot_virtio(void);
/* Loads the drivers of devices that may be plugged in later. */
void boot_later_modules(void);
/* Mounts the disk with this serial and makes it the root; returns 0, or -1 with the step that failed in `why`. */
int boot_root(const struct spec *spec, const char **why);
void boot_identity(const struct spec *spec);
void boot_system(const struct spec *spec);
void boot_files(const struct spec *spec);

/* net.c */
void net_up(const struct spec *spec);
int net_change_mac(const char *interface, const char *mac);

/* ports.c */
/* Waits until the ports of these names are there (at most `ms`), and opens one. */
void ports_await(const struct spec *spec, int ms);
int port_open(const char *name, int flags);
/* Whether somebody on the host holds the other end. */
int port_connected(int fd);

/* account.c: who a command runs as. */
struct account {
  uid_t uid;
  gid_t gid;
  gid_t groups[64];
  int count;
  char home[256];
};
/* `NAME`, `UID`, `NAME:GROUP`, `UID:GID`; "" is root. Returns 0, or -1 when there is no such name. */
int account_find(const char *user, struct account *account);

/* spawn.c */
struct command {
  const struct spec *spec;  /* arg, env, user, workdir */
  const char *group;        /* cgroup below /sys/fs/cgroup; made when missing */
  int in, out, err;         /* -1: /dev/null */
  int makes_workdir;        /* a missing working folder is made, as container engines do for the main command */
  int tty;                  /* `in` is the slave side of a terminal, which becomes the controlling one */
  int (*builtin)(const struct spec *spec); /* runs this in the child in place of a program */
};
/* Returns the pid, or -errno; `why` then names the step. */
pid_t spawn(const struct command *command, const char **why);
void group_signal(const char *group, int signal);
void group_remove(const char *group);

/* sessions.c: commands of the host, over the ports vmkit.exec.N. */
void sessions_open(int epoll);
/* The port, or session stream, that this epoll entry is for is ready. */
void sessions_ready(uint64_t key, uint32_t events);
/* True when the pid was one of a session. */
int sessions_exited(pid_t pid, int status);

/* requests.c: what the host asks of PID 1 itself. Returns 0 or an errno. */
int request(const struct spec *spec);

/* about.c: what the system tells of itself. */
struct about {
  size_t length;
  char bytes[16384];
};
void about_fill(struct about *about);

/* files.c: work on files, run in a child. Each returns an exit code: 0, or an errno. */
int files_work(const struct spec *spec);

/* main-command.c */
extern struct spec run;
/* A new terminal: the master end, and the other in `slave`. */
int terminal_open(int *slave, int columns, int rows);
int main_start(int epoll, const char **why);
void main_ready(uint64_t key, uint32_t events);
int main_exited(pid_t pid, int status);
int main_signal(int signal);
int main_resize(int columns, int rows);
int main_input(void);
void main_input_end(void);
/* Tells the host how it ended, and switches the machine off. Never returns. */
void finish(int code, int signal, int oom, const char *error);
void power_off(void);

enum { KEY_SIGNALS = 1, KEY_MAIN = 0x100, KEY_PORT = 0x200, KEY_SESSION = 0x10000 };

void say(const char *format, ...);
int write_text(const char *path, const char *text);

/* All that the machine runs, each command in a cgroup of its own below. */
#define CGROUPS "/sys/fs/cgroup/vmkit"
long read_text(const char *path, char *text, size_t size);
int make_folders(const char *path);
#endif
