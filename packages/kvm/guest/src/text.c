#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* To the kernel's log, and so to the serial console. */
void say(const char *format, ...) {
  char line[512];
  va_list values;
  int fd, length;
  va_start(values, format);
  length = vsnprintf(line, sizeof line - 1, format, values);
  va_end(values);
  if (length > (int)sizeof line - 2) length = sizeof line - 2;
  line[length] = '\n';
  fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) return;
  write(fd, "vmkit: ", 7);
  write(fd, line, length + 1);
  close(fd);
}

int write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  ssize_t wrote;
  if (fd < 0) return -1;
  wrote = write(fd, text, strlen(text));
  close(fd);
  return wrote == (ssize_t)strlen(text) ? 0 : -1;
}

long read_text(const char *path, char *text, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got;
  text[0] = 0;
  if (fd < 0) return -1;
  got = read(fd, text, size - 1);
  close(fd);
  if (got < 0) return -1;
  text[got] = 0;
  return got;
}

/* The folders above a path. */
int make_folders(const char *path) {
  char part[4096];
  size_t at;
  if (strlen(path) >= sizeof part) return ENAMETOOLONG;
  for (at = 1; path[at]; at++) {
    if (path[at] != '/') continue;
    memcpy(part, path, at);
    part[at] = 0;
    if (mkdir(part, 0755) != 0 && errno != EEXIST) return errno;
  }
  return 0;
}
