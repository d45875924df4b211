/* Starts a command as the spec says, in a cgroup of its own, so that it can be ended with all its children. */
#include "guest.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const STEPS[] = {"user", "workdir", "command", "cgroup"};
enum { STEP_USER, STEP_WORKDIR, STEP_COMMAND, STEP_GROUP };

struct list {
  char *items[MAX_ARGS + 2];
  int count;
  int full;
};

static void add(const char *value, void *to) {
  struct list *list = to;
  if (list->count < MAX_ARGS) list->items[list->count++] = (char *)value;
  else list->full = 1;
}

static void add_unless_set(struct list *list, const char *name, char *text) {
  int at;
  for (at = 0; at < list->count; at++)
    if (strncmp(list->items[at], name, strlen(name)) == 0) return;
  add(text, list);
}

static int enter(const char *folder, int makes) {
  if (chdir(folder) == 0) return 0;
  if (errno != ENOENT || !makes) return -1;
  errno = make_folders(folder);
  if (errno != 0) return -1;
  if (mkdir(folder, 0755) != 0 && errno != EEXIST) return -1;
  return chdir(folder);
}

static void report(int to, int step) {
  int text[2] = {step, errno};
  write(to, text, sizeof text);
  _exit(127);
}

static void redirect(int from, int to) {
  int fd = from >= 0 ? from : open("/dev/null", O_RDWR);
  dup2(fd, to);
}

static void child(const struct command *command, int report_to) {
  static struct list args, env;
  struct account account;
  char home[300], group[300];
  sigset_t none;
  int signal_number;
  const char *path;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  for (signal_number = 1; signal_number < 32; signal_number++) signal(signal_number, SIG_DFL);
  setsid();
  if (command->group) {
    snprintf(group, sizeof group, CGROUPS "/%s/cgroup.procs", command->group);
    if (write_text(group, "0") != 0) report(report_to, STEP_GROUP);
  }
  if (command->tty) ioctl(command->in, TIOCSCTTY, 0);
  redirect(command->in, 0);
  redirect(command->out, 1);
  redirect(command->err, 2);
  if (command->builtin) {
    if (enter(spec_get(command->spec, "workdir", "/"), command->makes_workdir) != 0) report(report_to, STEP_WORKDIR);
    /* No exec closes them for it; its own stdin would never end. */
    syscall(SYS_close_range, 3, ~0u, 0);
    _exit(command->builtin(command->spec));
  }
  if (account_find(spec_get(command->spec, "user", ""), &account) != 0) {
    errno = ENOENT;
    report(report_to, STEP_USER);
  }
  spec_each(command->spec, "arg", add, &args);
  spec_each(command->spec, "env", add, &env);
  errno = E2BIG;
  if (args.full || env.full) report(report_to, STEP_COMMAND);
  snprintf(home, sizeof home, "HOME=%s", account.home);
  add_unless_set(&env, "HOME=", home);
  add_unless_set(&env, "PATH=", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  if (command->tty) add_unless_set(&env, "TERM=", "TERM=xterm");
  args.items[args.count] = NULL;
  env.items[env.count] = NULL;
  if (command->tty) fchown(0, account.uid, -1);
  if (enter(spec_get(command->spec, "workdir", "/"), command->makes_workdir) != 0) report(report_to, STEP_WORKDIR);
  if (setgroups(account.count, account.groups) != 0 || setgid(account.gid) != 0 || setuid(account.uid) != 0) report(report_to, STEP_USER);
  if (args.count == 0) {
    errno = EINVAL;
    report(report_to, STEP_COMMAND);
  }
  environ = env.items;
  path = args.items[0];
  execvp(path, args.items); /* searches the PATH of `environ`, which is the command's own */
  report(report_to, STEP_COMMAND);
}

pid_t spawn(const struct command *command, const char **why) {
  int failure[2], text[2];
  char group[300];
  pid_t pid;
  if (command->group) {
    snprintf(group, sizeof group, CGROUPS "/%s", command->group);
    mkdir(group, 0755);
  }
  if (pipe2(failure, O_CLOEXEC) != 0) return -errno;
  pid = fork();
  if (pid == 0) child(command, failure[1]);
  close(failure[1]);
  if (pid < 0) {
    pid = -errno;
    *why = STEPS[STEP_COMMAND];
  } else if (read(failure[0], text, sizeof text) == sizeof text) {
    /* It ends by itself and is reaped with the others. */
    *why = STEPS[text[0]];
    pid = -text[1];
  }
  close(failure[0]);
  return pid;
}

void group_signal(const char *group, int signal) {
  char path[300], text[16384], *rest, *line;
  snprintf(path, sizeof path, CGROUPS "/%s/cgroup.kill", group);
  if (signal == SIGKILL && write_text(path, "1") == 0) return;
  snprintf(path, sizeof path, CGROUPS "/%s/cgroup.procs", group);
  if (read_text(path, text, sizeof text) <= 0) return;
  rest = text;
  while ((line = strsep(&rest, "\n")))
    if (line[0]) kill(atoi(line), signal);
}

void group_remove(const char *group) {
  char path[300];
  snprintf(path, sizeof path, CGROUPS "/%s", group);
  rmdir(path);
}
