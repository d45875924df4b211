/* Network interfaces: addresses as the host gives them, or by DHCP through the image-independent busybox where it has one. */
#include "guest.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void up(int fd, const char *interface) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
  ioctl(fd, SIOCGIFFLAGS, &request);
  request.ifr_flags |= IFF_UP | IFF_RUNNING;
  ioctl(fd, SIOCSIFFLAGS, &request);
}

static void down(int fd, const char *interface) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
  ioctl(fd, SIOCGIFFLAGS, &request);
  request.ifr_flags &= ~IFF_UP;
  ioctl(fd, SIOCSIFFLAGS, &request);
}

static void set(int fd, const char *interface, unsigned long what, in_addr_t address) {
  struct ifreq request;
  struct sockaddr_in *to = (struct sockaddr_in *)&request.ifr_addr;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
  to->sin_family = AF_INET;
  to->sin_addr.s_addr = address;
  if (ioctl(fd, what, &request) != 0) say("setting an address of %s failed", interface);
}

static void default_route(int fd, in_addr_t gateway) {
  struct rtentry route;
  struct sockaddr_in *to = (struct sockaddr_in *)&route.rt_gateway;
  memset(&route, 0, sizeof route);
  to->sin_family = AF_INET;
  to->sin_addr.s_addr = gateway;
  route.rt_dst.sa_family = AF_INET;
  route.rt_genmask.sa_family = AF_INET;
  route.rt_flags = RTF_UP | RTF_GATEWAY;
  if (ioctl(fd, SIOCADDRT, &route) != 0) say("setting the default route failed");
}

/* The interface with this hardware address, or of this name. */
static int find(const char *mac, char *interface) {
  DIR *entries = opendir("/sys/class/net");
  struct dirent *entry;
  char path[300], text[64];
  int found = -1;
  if (!strchr(mac, ':')) {
    if (entries) closedir(entries);
    snprintf(interface, IFNAMSIZ, "%s", mac);
    return if_nametoindex(interface) ? 0 : -1;
  }
  while (entries && found < 0 && (entry = readdir(entries))) {
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/sys/class/net/%s/address", entry->d_name);
    if (read_text(path, text, sizeof text) <= 0) continue;
    text[strcspn(text, "\n")] = 0;
    if (strcasecmp(text, mac) != 0) continue;
    snprintf(interface, IFNAMSIZ, "%s", entry->d_name);
    found = 0;
  }
  if (entries) closedir(entries);
  return found;
}

/* `nic` is WHICH,dhcp or WHICH,ADDRESS,MASK,GATEWAY; WHICH is a hardware address or a name; an empty gateway is none. */
static void bring_up(const char *value, void *to) {
  char text[200], interface[IFNAMSIZ], *rest = text, *mac, *address, *mask, *gateway;
  int fd = *(int *)to;
  snprintf(text, sizeof text, "%s", value);
  mac = strsep(&rest, ",");
  address = strsep(&rest, ",");
  mask = strsep(&rest, ",");
  gateway = strsep(&rest, ",");
  if (!address || find(mac, interface) != 0) {
    say("there is no interface %s", mac);
    return;
  }
  up(fd, interface);
  if (!mask) return;
  set(fd, interface, SIOCSIFADDR, inet_addr(address));
  set(fd, interface, SIOCSIFNETMASK, inet_addr(mask));
  if (gateway && gateway[0]) default_route(fd, inet_addr(gateway));
}

static void name_server(const char *value, void *to) {
  char line[80];
  snprintf(line, sizeof line, "nameserver %s\n", value);
  strncat(to, line, 400 - strlen(to));
}

void net_up(const struct spec *spec) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  char servers[512] = "";
  struct stat info;
  up(fd, "lo");
  spec_each(spec, "nic", bring_up, &fd);
  close(fd);
  spec_each(spec, "dns", name_server, servers);
  /* A link here (systemd's, resolvconf's) is the image's own way. */
  if (servers[0] && (lstat("/etc/resolv.conf", &info) != 0 || S_ISREG(info.st_mode))) write_text("/etc/resolv.conf", servers);
}

int net_change_mac(const char *from, const char *mac) {
  struct ifreq request;
  char interface[IFNAMSIZ];
  unsigned bytes[6];
  int at, fd, failed;
  /* A driver that came up after the machine woke has the new address already. */
  if (find(from, interface) != 0) return find(mac, interface);
  if (sscanf(mac, "%x:%x:%x:%x:%x:%x", &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4], &bytes[5]) != 6) return -1;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
  request.ifr_hwaddr.sa_family = 1; /* ARPHRD_ETHER */
  for (at = 0; at < 6; at++) request.ifr_hwaddr.sa_data[at] = bytes[at];
  fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  failed = ioctl(fd, SIOCSIFHWADDR, &request);
  if (failed) { /* most drivers change it only while the interface is down; its default route goes with that */
    down(fd, interface);
    failed = ioctl(fd, SIOCSIFHWADDR, &request);
    up(fd, interface);
  }
  close(fd);
  return failed;
}
