/* What this system tells of itself: records as the host's own are, NUL-ended keys and values in turn. */
#include "guest.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

/* What does not fit is left out. */
static void put(struct about *about, const char *key, const char *format, ...) {
  char value[4200];
  size_t key_size = strlen(key) + 1, value_size;
  va_list values;
  va_start(values, format);
  vsnprintf(value, sizeof value, format, values);
  va_end(values);
  value_size = strlen(value) + 1;
  if (about->length + key_size + value_size > sizeof about->bytes) return;
  memcpy(about->bytes + about->length, key, key_size);
  memcpy(about->bytes + about->length + key_size, value, value_size);
  about->length += key_size + value_size;
}

static int bits(const unsigned char *mask, int size) {
  int count = 0, at, bit;
  for (at = 0; at < size; at++)
    for (bit = 7; bit >= 0 && mask[at] >> bit & 1; bit--) count++;
  return count;
}

/* `interface` is NAME,MAC; `address` is NAME,ADDRESS,PREFIX. */
static void interfaces(struct about *about) {
  char text[INET6_ADDRSTRLEN], path[300], mac[64];
  struct ifaddrs *all = NULL, *one;
  struct if_nameindex *names = if_nameindex(), *name;
  for (name = names; name && name->if_name; name++) {
    snprintf(path, sizeof path, "/sys/class/net/%s/address", name->if_name);
    if (read_text(path, mac, sizeof mac) < 0) mac[0] = 0;
    mac[strcspn(mac, "\n")] = 0;
    put(about, "interface", "%s,%s", name->if_name, mac);
  }
  if (names) if_freenameindex(names);
  if (getifaddrs(&all) != 0) return;
  for (one = all; one; one = one->ifa_next) {
    int family = one->ifa_addr ? one->ifa_addr->sa_family : 0;
    if (family == AF_INET) {
      struct sockaddr_in *address = (struct sockaddr_in *)one->ifa_addr, *mask = (struct sockaddr_in *)one->ifa_netmask;
      inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
      put(about, "address", "%s,%s,%d", one->ifa_name, text, mask ? bits((unsigned char *)&mask->sin_addr, 4) : 32);
    } else if (family == AF_INET6) {
      struct sockaddr_in6 *address = (struct sockaddr_in6 *)one->ifa_addr, *mask = (struct sockaddr_in6 *)one->ifa_netmask;
      inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof text);
      put(about, "address", "%s,%s,%d", one->ifa_name, text, mask ? bits((unsigned char *)&mask->sin6_addr, 16) : 128);
    }
  }
  freeifaddrs(all);
}

void about_fill(struct about *about) {
  char text[4096];
  struct utsname names;
  about->length = 0;
  if (uname(&names) == 0) {
    put(about, "hostname", "%s", names.nodename);
    put(about, "kernel", "%s", names.release);
    put(about, "machine", "%s", names.machine);
  }
  /* os-release(5): the first that is there. */
  if (read_text("/etc/os-release", text, sizeof text) > 0 || read_text("/usr/lib/os-release", text, sizeof text) > 0)
    put(about, "os-release", "%s", text);
  interfaces(about);
}
