/* virtio-serial ports, found by name in sysfs: there is no udev to make links. */
#include "guest.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int find_port(const char *name, char *device, size_t size) {
  DIR *entries = opendir("/sys/class/virtio-ports");
  struct dirent *entry;
  char path[300], text[128];
  int found = -1;
  if (!entries) return -1;
  while (found < 0 && (entry = readdir(entries))) {
    snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
    if (entry->d_name[0] == '.' || read_text(path, text, sizeof text) <= 0) continue;
    text[strcspn(text, "\n")] = 0;
    if (strcmp(text, name) != 0) continue;
    snprintf(device, size, "/dev/%s", entry->d_name);
    found = access(device, F_OK);
  }
  closedir(entries);
  return found;
}

static void count_missing(const char *name, void *to) {
  char device[64];
  if (find_port(name, device, sizeof device) != 0) ++*(int *)to;
}

static long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A port's name comes in a message of its own after the driver is there; the kernel announces each. */
void ports_await(const struct spec *spec, int ms) {
  struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
  int events = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
  struct pollfd wait = {.fd = events, .events = POLLIN};
  char message[4096];
  long until = now_ms() + ms;
  bind(events, (struct sockaddr *)&address, sizeof address);
  for (;;) {
    int missing = 0;
    spec_each(spec, "port", count_missing, &missing);
    if (missing == 0) break;
    if (now_ms() >= until || poll(&wait, 1, until - now_ms()) <= 0) {
      say("%d of the ports did not come", missing);
      break;
    }
    while (recv(events, message, sizeof message, 0) > 0) {
    }
  }
  close(events);
}

int port_open(const char *name, int flags) {
  char device[64];
  if (find_port(name, device, sizeof device) != 0) return -1;
  return open(device, flags | O_CLOEXEC | O_NOCTTY);
}

int port_connected(int fd) {
  struct pollfd state = {.fd = fd, .events = 0};
  return poll(&state, 1, 0) < 0 || !(state.revents & POLLHUP);
}
