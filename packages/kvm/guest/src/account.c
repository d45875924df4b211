/* Users and groups of the image, read from its own files: the guest has no libc of the image to ask. */
#include "guest.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int number(const char *text, long *value) {
  char *end;
  if (text[0] < '0' || text[0] > '9') return 0;
  *value = strtol(text, &end, 10);
  return *end == 0 && *value <= 0xfffffffeL;
}

/* name:password:uid:gid:comment:home:shell */
static int find_user(const char *name, struct account *account, char *login, size_t size) {
  FILE *file = fopen("/etc/passwd", "re");
  char line[1024];
  long wanted = -1;
  int found = 0, numeric = number(name, &wanted);
  while (file && !found && fgets(line, sizeof line, file)) {
    char *rest = line, *user = strsep(&rest, ":"), *uid, *gid, *home;
    strsep(&rest, ":");
    uid = strsep(&rest, ":");
    gid = strsep(&rest, ":");
    strsep(&rest, ":");
    home = strsep(&rest, ":\n");
    if (!uid || !gid || !home) continue;
    if (numeric ? strtol(uid, NULL, 10) != wanted : strcmp(user, name) != 0) continue;
    account->uid = strtol(uid, NULL, 10);
    account->gid = strtol(gid, NULL, 10);
    snprintf(account->home, sizeof account->home, "%s", home[0] ? home : "/");
    snprintf(login, size, "%s", user);
    found = 1;
  }
  if (file) fclose(file);
  if (!found && numeric) {
    account->uid = wanted;
    found = 1;
  }
  return found;
}

/* name:password:gid:members. Adds the groups that list the user; with `wanted`, looks for that one's number. */
static int walk_groups(const char *login, const char *wanted, struct account *account) {
  FILE *file = fopen("/etc/group", "re");
  char line[4096];
  int found = 0;
  while (file && fgets(line, sizeof line, file)) {
    char *rest = line, *group = strsep(&rest, ":"), *gid, *member;
    strsep(&rest, ":");
    gid = strsep(&rest, ":");
    if (!gid) continue;
    if (wanted && strcmp(group, wanted) == 0) {
      account->gid = strtol(gid, NULL, 10);
      found = 1;
    }
    while (!wanted && rest && (member = strsep(&rest, ",\n")))
      if (login[0] && strcmp(member, login) == 0 && account->count < 64) account->groups[account->count++] = strtol(gid, NULL, 10);
  }
  if (file) fclose(file);
  return found;
}

int account_find(const char *user, struct account *account) {
  char text[256], login[256] = "", *group = text, *name;
  long gid;
  memset(account, 0, sizeof *account);
  strcpy(account->home, "/");
  if (strlen(user) >= sizeof text) return -1;
  strcpy(text, user[0] ? user : "0");
  name = strsep(&group, ":");
  if (!find_user(name, account, login, sizeof login)) return -1;
  if (!group || group[0] == 0) {
    walk_groups(login, NULL, account);
    return 0;
  }
  if (number(group, &gid)) {
    account->gid = gid;
    return 0;
  }
  return walk_groups(login, group, account) ? 0 : -1;
}
