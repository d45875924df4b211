#include "guest.h"
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct spec run;

static void reap(void) {
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
    if (!sessions_exited(pid, status)) main_exited(pid, status);
}

static void serve(int epoll, int signals) {
  struct epoll_event ready[16];
  struct signalfd_siginfo info;
  int at, count;
  for (;;) {
    count = epoll_wait(epoll, ready, 16, -1);
    for (at = 0; at < count; at++) {
      uint64_t key = ready[at].data.u64;
      if (key == KEY_SIGNALS) {
        while (read(signals, &info, sizeof info) == sizeof info) {
        }
        reap();
      } else if (key >= KEY_PORT) {
        sessions_ready(key, ready[at].events);
      } else {
        main_ready(key, ready[at].events);
      }
    }
  }
}

/* A root with an init system of its own: it becomes PID 1, and nothing of us stays. */
static void handover(const char *init) {
  if (init[0] == 0) return;
  execl(init, init, (char *)NULL);
  finish(-1, errno, 0, "init");
}

int main(void) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = KEY_SIGNALS};
  struct rlimit files = {1024, 524288};
  const char *why = "";
  sigset_t all;
  int epoll, signals, failed;
  umask(022);
  boot_mounts();
  boot_virtio();
  spec_load(&run, "/spec");
  ports_await(&run, 30000); /* without them nobody hears of its output and its end; a busy host takes its time to name them */
  if (boot_root(&run, &why) != 0) finish(-1, errno, 0, why);
  handover(spec_get(&run, "handover", ""));
  boot_system(&run);
  net_up(&run);
  boot_files(&run);
  setrlimit(RLIMIT_NOFILE, &files);
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_ctl(epoll, EPOLL_CTL_ADD, signals, &event);
  failed = main_start(epoll, &why);
  if (failed) finish(failed == -ENOENT ? 127 : 126, -failed, 0, why);
  sessions_open(epoll);
  boot_later_modules();
  serve(epoll, signals);
  return 0;
}
