/* The machine's own command: what the image is for. When it ends, the machine ends. */
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define GROUP "main"
enum { FROM_STDOUT, FROM_STDERR };

static pid_t pid;
static int from[2] = {-1, -1}, to[2] = {-1, -1}, input = -1, is_tty;

int terminal_open(int *slave, int columns, int rows) {
  char name[64];
  int number, unlock = 0, master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  struct winsize size = {.ws_row = rows, .ws_col = columns};
  if (master < 0) return -1;
  ioctl(master, TIOCSPTLCK, &unlock);
  ioctl(master, TIOCGPTN, &number);
  ioctl(master, TIOCSWINSZ, &size);
  snprintf(name, sizeof name, "/dev/pts/%d", number);
  *slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
  return master;
}

static void watch(int epoll, int which) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = KEY_MAIN + which};
  epoll_ctl(epoll, EPOLL_CTL_ADD, from[which], &event);
}

int main_start(int epoll, const char **why) {
  struct command command = {.spec = &run, .group = GROUP, .makes_workdir = 1, .in = -1, .out = -1, .err = -1};
  const char *pids = spec_get(&run, "pids", "");
  int ends[2], which;
  to[FROM_STDOUT] = port_open("vmkit.stdout", O_WRONLY);
  to[FROM_STDERR] = port_open("vmkit.stderr", O_WRONLY);
  is_tty = spec_get(&run, "tty", "")[0] == '1';
  if (is_tty) {
    from[FROM_STDOUT] = input = terminal_open(&command.in, 80, 24);
    command.out = command.err = command.in;
    command.tty = 1;
  } else {
    for (which = FROM_STDOUT; which <= FROM_STDERR; which++) {
      pipe2(ends, O_CLOEXEC);
      from[which] = ends[0];
      *(which == FROM_STDOUT ? &command.out : &command.err) = ends[1];
    }
    if (spec_get(&run, "stdin", "")[0] == '1') {
      pipe2(ends, O_CLOEXEC);
      command.in = ends[0];
      input = ends[1];
    }
  }
  if (pids[0]) write_text(CGROUPS "/pids.max", pids);
  pid = spawn(&command, why);
  close(command.in);
  close(command.out);
  close(command.err);
  for (which = FROM_STDOUT; which <= FROM_STDERR; which++) {
    if (from[which] < 0) continue;
    fcntl(from[which], F_SETFL, O_NONBLOCK);
    watch(epoll, which);
  }
  if (input >= 0) fcntl(input, F_SETFL, O_NONBLOCK);
  return pid < 0 ? pid : 0;
}

/* Copies what is there to the host's log. False at the end. */
static int copy(int which) {
  static char bytes[65536];
  ssize_t got = read(from[which], bytes, sizeof bytes), sent = 0;
  if (got < 0 && errno == EAGAIN) return 1;
  if (got <= 0) return 0;
  while (sent < got && to[which] >= 0) {
    ssize_t wrote = write(to[which], bytes + sent, got - sent);
    if (wrote < 0 && errno != EINTR) break;
    if (wrote > 0) sent += wrote;
  }
  return 1;
}

void main_ready(uint64_t key, uint32_t events) {
  int which = key - KEY_MAIN;
  (void)events;
  if (from[which] < 0 || copy(which)) return;
  if (is_tty && pid > 0) return; /* nobody has the terminal open for now */
  close(from[which]);
  from[which] = -1;
}

/* A dup of where the command's stdin goes, or -1. */
int main_input(void) { return input < 0 ? -1 : fcntl(input, F_DUPFD_CLOEXEC, 3); }

void main_input_end(void) {
  if (is_tty || input < 0) return;
  close(input);
  input = -1;
}

int main_signal(int signal) {
  if (pid <= 0) return ESRCH;
  return kill(pid, signal) == 0 ? 0 : errno;
}

int main_resize(int columns, int rows) {
  struct winsize size = {.ws_row = rows, .ws_col = columns};
  if (!is_tty) return ENOTTY;
  return ioctl(input, TIOCSWINSZ, &size) == 0 ? 0 : errno;
}

/* Counts the kernel's out-of-memory kills in the command's cgroup. */
static int out_of_memory(void) {
  char text[512], *line;
  if (read_text(CGROUPS "/" GROUP "/memory.events", text, sizeof text) <= 0) return 0;
  line = strstr(text, "oom_kill ");
  return line && atoi(line + 9) > 0;
}

static void drain(void) {
  struct pollfd state;
  int which;
  for (which = FROM_STDOUT; which <= FROM_STDERR; which++) {
    while (from[which] >= 0) {
      state.fd = from[which];
      state.events = POLLIN;
      if (poll(&state, 1, 0) <= 0 || !(state.revents & POLLIN) || !copy(which)) break;
    }
  }
}

int main_exited(pid_t ended, int status) {
  if (ended != pid) return 0;
  pid = 0;
  drain();
  if (WIFSIGNALED(status)) finish(-1, WTERMSIG(status), WTERMSIG(status) == SIGKILL && out_of_memory(), NULL);
  finish(WEXITSTATUS(status), 0, out_of_memory() ? 1 : 0, NULL);
  return 1;
}

void power_off(void) {
  sync();
  mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
  /* A machine without ACPI cannot switch itself off; QEMU ends on its reset (-no-reboot). */
  if (access("/sys/firmware/acpi", F_OK) == 0) reboot(RB_POWER_OFF);
  reboot(RB_AUTOBOOT);
  for (;;) pause();
}

/* A JSON text of one line; `error` is one of our own step names. */
void finish(int code, int signal, int oom, const char *error) {
  char text[256];
  int port = port_open("vmkit.exit", O_WRONLY), length;
  if (error) length = snprintf(text, sizeof text, "{\"code\":%d,\"error\":\"%s\",\"errno\":%d}\n", code, error, signal);
  else if (signal) length = snprintf(text, sizeof text, "{\"signal\":%d,\"oom\":%s}\n", signal, oom ? "true" : "false");
  else length = snprintf(text, sizeof text, "{\"code\":%d,\"oom\":%s}\n", code, oom ? "true" : "false");
  kill(-1, SIGKILL);
  /* First the disk: who reads of the exit may take the machine apart. */
  sync();
  if (port >= 0) write(port, text, length);
  power_off();
}
