#include "guest.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int spec_load(struct spec *spec, const char *path) {
  struct stat info;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  spec->bytes = NULL;
  spec->length = 0;
  if (fd < 0) return -1;
  fstat(fd, &info);
  spec->bytes = malloc(info.st_size + 1);
  while (spec->length < (size_t)info.st_size) {
    ssize_t got = read(fd, spec->bytes + spec->length, info.st_size - spec->length);
    if (got <= 0) break;
    spec->length += got;
  }
  spec->bytes[spec->length] = 0; /* what is cut off still ends */
  close(fd);
  return 0;
}

void spec_each(const struct spec *spec, const char *key, void (*each)(const char *value, void *to), void *to) {
  const char *at = spec->bytes, *end = spec->bytes + spec->length;
  while (at < end) {
    const char *value = at + strlen(at) + 1;
    if (value >= end) return;
    if (strcmp(at, key) == 0) each(value, to);
    at = value + strlen(value) + 1;
  }
}

static void keep(const char *value, void *to) { *(const char **)to = value; }

const char *spec_get(const struct spec *spec, const char *key, const char *otherwise) {
  const char *value = otherwise;
  spec_each(spec, key, keep, &value);
  return value;
}
