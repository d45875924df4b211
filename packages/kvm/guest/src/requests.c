/* What the host asks of PID 1 itself. */
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

/* `mac` is OLD,NEW. */
static void change_mac(const char *value, void *to) {
  char text[64], *rest = text, *old;
  snprintf(text, sizeof text, "%s", value);
  old = strsep(&rest, ",");
  if (!rest || net_change_mac(old, rest) != 0) *(int *)to = EIO;
}

/* A machine woken from another's memory is made a machine of its own. */
static int identity(const struct spec *spec) {
  const char *id = spec_get(spec, "machine-id", "");
  struct stat info;
  char line[300];
  int failed = 0;
  boot_identity(spec);
  spec_each(spec, "mac", change_mac, &failed);
  net_up(spec);
  snprintf(line, sizeof line, "%s\n", id);
  if (id[0] && stat("/etc/machine-id", &info) == 0 && write_text("/etc/machine-id", line) != 0) failed = errno;
  return failed;
}

static int freeze(unsigned long what) {
  int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed;
  if (fd < 0) return errno;
  failed = ioctl(fd, what, 0) == 0 ? 0 : errno;
  close(fd);
  return failed;
}

int request(const struct spec *spec) {
  const char *what = spec_get(spec, "op", "");
  if (strcmp(what, "signal") == 0) return main_signal(atoi(spec_get(spec, "signal", "0")));
  if (strcmp(what, "resize") == 0) return main_resize(atoi(spec_get(spec, "columns", "80")), atoi(spec_get(spec, "rows", "24")));
  if (strcmp(what, "identity") == 0) return identity(spec);
  if (strcmp(what, "pids") == 0) return write_text(CGROUPS "/pids.max", spec_get(spec, "pids", "max")) == 0 ? 0 : errno;
  if (strcmp(what, "freeze") == 0) return freeze(FIFREEZE);
  if (strcmp(what, "thaw") == 0) return freeze(FITHAW);
  if (strcmp(what, "sync") == 0) {
    sync();
    return 0;
  }
  if (strcmp(what, "ping") == 0) return 0;
  return ENOSYS;
}
