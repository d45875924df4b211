/* Commands of the host. Each port serves one program of the host, and carries any number of sessions in frames:
 * magic u32, type u8, stream u8, two unused bytes, session u32, length u32, payload; little-endian. What a side may send of a
 * stream is limited by credit, so that a slow reader of one session holds up no other. */
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define MAGIC 0x314b4d56u /* "VMK1" */
#define LARGEST 65536
#define PORTS 8
#define SESSIONS 64
#define CHUNK 32768
#define INPUT_WINDOW 65536
#define OUTPUT_WINDOW 262144

enum { HELLO = 1, START, INPUT, INPUT_END, KILL, RESIZE, CREDIT, REQUEST, ATTACH };
enum { WELCOME = 1, STARTED, FAILED, OUTPUT, EXIT, MORE, ANSWER, CLOSED };

struct header {
  uint32_t magic;
  uint8_t type, stream;
  uint16_t unused;
  uint32_t session, length;
};

struct port {
  int fd, connected;
  size_t received, queued, queue_size;
  unsigned char frame[sizeof(struct header) + LARGEST];
  unsigned char *queue;
};

struct session {
  int used, port, exited, status, is_tty, attached;
  uint32_t number, credit[2];
  pid_t pid;
  int in, from[2], watching[3];
  int input_ended;
  size_t waiting, waiting_from;
  unsigned char *input;
  char group[32];
};

static struct port ports[PORTS];
static struct session sessions[SESSIONS];
static int poller;
static unsigned serial;

static void watch(int fd, uint32_t events, uint64_t key) {
  struct epoll_event event = {.events = events, .data.u64 = key};
  epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static uint64_t key_of(struct session *session, int which) { return KEY_SESSION + (session - sessions) * 4 + which; }

static void flush(struct port *port) {
  while (port->queued > 0) {
    ssize_t wrote = write(port->fd, port->queue, port->queued);
    if (wrote <= 0) return;
    port->queued -= wrote;
    memmove(port->queue, port->queue + wrote, port->queued);
  }
}

static void send_frame(struct port *port, int type, int stream, uint32_t number, const void *payload, uint32_t length) {
  struct header header = {MAGIC, type, stream, 0, number, length};
  size_t needed = port->queued + sizeof header + length;
  if (!port->connected) return;
  if (needed > port->queue_size) {
    port->queue_size = needed + LARGEST;
    port->queue = realloc(port->queue, port->queue_size);
  }
  memcpy(port->queue + port->queued, &header, sizeof header);
  if (length > 0) memcpy(port->queue + port->queued + sizeof header, payload, length);
  port->queued = needed;
  flush(port);
}

/* Epoll watches a stream only while something can be done with it. */
static void set_watch(struct session *session, int which, int fd, int on, uint32_t events) {
  if (session->watching[which] == on) return;
  if (on) watch(fd, events, key_of(session, which));
  else epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
  session->watching[which] = on;
}

static void close_input(struct session *session) {
  if (session->in < 0) return;
  set_watch(session, 2, session->in, 0, 0);
  close(session->in);
  session->in = -1;
  session->waiting = 0;
}

static void close_output(struct session *session, int which) {
  if (session->from[which] < 0) return;
  set_watch(session, which, session->from[which], 0, 0);
  close(session->from[which]);
  session->from[which] = -1;
}

static void end(struct session *session) {
  close_input(session);
  close_output(session, 0);
  close_output(session, 1);
  free(session->input);
  session->used = 0;
}

/* Nobody asks for it any more: it goes with all its children. */
static void drop(struct session *session) {
  if (session->pid > 0 && !session->exited) {
    group_signal(session->group, SIGKILL);
    kill(session->pid, SIGKILL);
  }
  if (session->pid > 0 && !session->exited) {
    session->port = -1; /* the slot is free once it is reaped */
    close_input(session);
    close_output(session, 0);
    close_output(session, 1);
    return;
  }
  end(session);
}

static void drop_all(int port) {
  int at;
  for (at = 0; at < SESSIONS; at++)
    if (sessions[at].used && sessions[at].port == port) drop(&sessions[at]);
}

static struct session *find(int port, uint32_t number) {
  int at;
  for (at = 0; at < SESSIONS; at++)
    if (sessions[at].used && sessions[at].port == port && sessions[at].number == number) return &sessions[at];
  return NULL;
}

static struct session *new_session(int port, uint32_t number) {
  int at;
  for (at = 0; at < SESSIONS && sessions[at].used; at++) {
  }
  if (at == SESSIONS) return NULL;
  memset(&sessions[at], 0, sizeof sessions[at]);
  sessions[at].used = 1;
  sessions[at].port = port;
  sessions[at].number = number;
  sessions[at].credit[0] = sessions[at].credit[1] = OUTPUT_WINDOW;
  sessions[at].in = sessions[at].from[0] = sessions[at].from[1] = -1;
  sessions[at].input = malloc(INPUT_WINDOW);
  return &sessions[at];
}

static void tell_exit(struct session *session) {
  int32_t how[2] = {-1, 0};
  if (WIFSIGNALED(session->status)) how[1] = WTERMSIG(session->status);
  else how[0] = WEXITSTATUS(session->status);
  send_frame(&ports[session->port], EXIT, 0, session->number, how, sizeof how);
  end(session);
}

/* Passes on what a stream holds, as far as credit goes. */
static void pump(struct session *session, int which) {
  static unsigned char bytes[CHUNK];
  struct port *port = &ports[session->port];
  while (session->from[which] >= 0 && session->credit[which] > 0 && port->queued == 0) {
    size_t most = session->credit[which] < CHUNK ? session->credit[which] : CHUNK;
    ssize_t got = read(session->from[which], bytes, most);
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      close_output(session, which);
      break;
    }
    session->credit[which] -= got;
    send_frame(port, OUTPUT, which, session->number, bytes, got);
  }
}

/* What was written before the end is told before the end; children that hold the stream open do not delay it. */
static void settle(struct session *session) {
  int which;
  if (session->port < 0) {
    if (session->exited) end(session);
    return;
  }
  for (which = 0; which < 2; which++) {
    int ready = session->credit[which] > 0 && ports[session->port].queued == 0;
    if (session->exited && ready) {
      pump(session, which);
      if (session->from[which] >= 0 && session->credit[which] > 0 && ports[session->port].queued == 0) close_output(session, which);
    }
    if (session->from[which] >= 0) set_watch(session, which, session->from[which], ready, EPOLLIN);
  }
  if (session->exited && session->from[0] < 0 && session->from[1] < 0) tell_exit(session);
}

static void push_input(struct session *session) {
  uint32_t taken = 0;
  while (session->in >= 0 && session->waiting > 0) {
    ssize_t wrote = write(session->in, session->input + session->waiting_from, session->waiting);
    if (wrote < 0 && errno == EAGAIN) break;
    if (wrote < 0) {
      close_input(session); /* nobody reads it */
      send_frame(&ports[session->port], CLOSED, 0, session->number, NULL, 0);
      break;
    }
    session->waiting_from += wrote;
    session->waiting -= wrote;
    taken += wrote;
  }
  if (taken > 0) send_frame(&ports[session->port], MORE, 0, session->number, &taken, sizeof taken);
  if (session->in >= 0) set_watch(session, 2, session->in, session->waiting > 0, EPOLLOUT);
  if (session->input_ended && session->waiting == 0 && session->in >= 0) {
    static const unsigned char end_of_file = 4; /* what a terminal takes for the end */
    if (session->attached) main_input_end();
    if (session->is_tty) write(session->in, &end_of_file, 1);
    close_input(session);
  }
}

static void take_input(struct session *session, const unsigned char *bytes, uint32_t length) {
  if (session->in < 0 || session->waiting + length > INPUT_WINDOW) return;
  memmove(session->input, session->input + session->waiting_from, session->waiting);
  memcpy(session->input + session->waiting, bytes, length);
  session->waiting_from = 0;
  session->waiting += length;
  push_input(session);
}

static void fail(int port, uint32_t number, int error, const char *why) {
  unsigned char text[68];
  size_t length = strlen(why);
  memcpy(text, &error, 4);
  memcpy(text + 4, why, length);
  send_frame(&ports[port], FAILED, 0, number, text, 4 + length);
}

static void pipe_for(int *ours, int *theirs, int read_end) {
  int ends[2] = {-1, -1};
  pipe2(ends, O_CLOEXEC);
  *ours = ends[read_end ? 0 : 1];
  *theirs = ends[read_end ? 1 : 0];
  fcntl(*ours, F_SETFL, O_NONBLOCK);
}

static void start(int port, uint32_t number, const struct spec *spec) {
  struct session *session = new_session(port, number);
  struct command command = {.spec = spec, .in = -1, .out = -1, .err = -1};
  const char *why = "command", *columns = spec_get(spec, "columns", "");
  if (!session) {
    fail(port, number, EAGAIN, "sessions");
    return;
  }
  if (columns[0]) {
    session->is_tty = command.tty = 1;
    session->from[0] = terminal_open(&command.in, atoi(columns), atoi(spec_get(spec, "rows", "24")));
    session->in = fcntl(session->from[0], F_DUPFD_CLOEXEC, 3); /* epoll takes a descriptor once */
    command.out = command.err = command.in;
    fcntl(session->in, F_SETFL, O_NONBLOCK);
  } else {
    if (spec_get(spec, "stdin", "")[0] == '1') pipe_for(&session->in, &command.in, 0);
    pipe_for(&session->from[0], &command.out, 1);
    pipe_for(&session->from[1], &command.err, 1);
  }
  if (spec_get(spec, "work", "")[0]) command.builtin = files_work;
  snprintf(session->group, sizeof session->group, "exec-%u", ++serial);
  command.group = session->group;
  session->pid = spawn(&command, &why);
  close(command.in);
  if (command.out != command.in) close(command.out);
  if (command.err != command.in) close(command.err);
  if (session->pid < 0) {
    group_remove(session->group);
    fail(port, number, -session->pid, why);
    end(session);
    return;
  }
  send_frame(&ports[port], STARTED, 0, number, NULL, 0);
  settle(session);
}

static void attach(int port, uint32_t number) {
  int in = main_input();
  struct session *session = in < 0 ? NULL : new_session(port, number);
  if (!session) {
    fail(port, number, in < 0 ? ENXIO : EAGAIN, "stdin");
    return;
  }
  session->attached = 1;
  session->in = in;
  send_frame(&ports[port], STARTED, 0, number, NULL, 0);
}

static void hello(int at, const unsigned char *nonce, uint32_t length) {
  drop_all(at);
  ports[at].queued = 0;
  ports[at].connected = 1;
  send_frame(&ports[at], WELCOME, 0, 0, nonce, length);
}

static void to_session(int at, const struct header *header, const unsigned char *payload) {
  struct session *session = find(at, header->session);
  struct winsize size = {0};
  uint32_t more;
  if (!session) return;
  switch (header->type) {
  case INPUT:
    take_input(session, payload, header->length);
    break;
  case INPUT_END:
    session->input_ended = 1;
    push_input(session);
    break;
  case KILL:
    if (session->attached) tell_exit(session); /* the machine's command goes on */
    else if (header->length >= 1 && !session->exited) group_signal(session->group, payload[0]);
    break;
  case RESIZE:
    if (header->length < 4) break;
    memcpy(&size.ws_col, payload, 2);
    memcpy(&size.ws_row, payload + 2, 2);
    if (session->attached) main_resize(size.ws_col, size.ws_row);
    else if (session->is_tty) ioctl(session->from[0], TIOCSWINSZ, &size);
    break;
  case CREDIT:
    if (header->length < 4 || header->stream > 1) break;
    memcpy(&more, payload, 4);
    session->credit[header->stream] += more;
    settle(session);
    break;
  }
}

/* The one question whose answer is more than an errno: what is told stands behind it. */
static void tell_about(int at, uint32_t number) {
  static struct about about;
  static unsigned char answer[sizeof(int32_t) + sizeof about.bytes];
  int32_t none = 0;
  about_fill(&about);
  memcpy(answer, &none, sizeof none);
  memcpy(answer + sizeof none, about.bytes, about.length);
  send_frame(&ports[at], ANSWER, 0, number, answer, sizeof none + about.length);
}

static void handle(int at, const struct header *header, unsigned char *payload) {
  struct spec spec = {(char *)payload, header->length};
  int32_t error;
  payload[header->length] = 0;
  switch (header->type) {
  case HELLO:
    hello(at, payload, header->length);
    break;
  case START:
    start(at, header->session, &spec);
    break;
  case ATTACH:
    attach(at, header->session);
    break;
  case REQUEST:
    if (strcmp(spec_get(&spec, "op", ""), "about") == 0) {
      tell_about(at, header->session);
      break;
    }
    error = request(&spec);
    send_frame(&ports[at], ANSWER, 0, header->session, &error, sizeof error);
    break;
  default:
    to_session(at, header, payload);
  }
}

/* The frames in what was received; bytes that start no frame (the rest of one whose sender died) are skipped. */
static void parse(int at) {
  struct port *port = &ports[at];
  static unsigned char payload[LARGEST + 1];
  struct header header;
  size_t from = 0;
  while (port->received - from >= sizeof header) {
    memcpy(&header, port->frame + from, sizeof header);
    if (header.magic != MAGIC || header.length > LARGEST) {
      from++;
      continue;
    }
    if (port->received - from < sizeof header + header.length) break;
    memcpy(payload, port->frame + from + sizeof header, header.length);
    from += sizeof header + header.length;
    handle(at, &header, payload);
  }
  port->received -= from;
  memmove(port->frame, port->frame + from, port->received);
}

static void serve_port(int at) {
  struct port *port = &ports[at];
  int other;
  if (!port_connected(port->fd)) {
    port->connected = 0;
    port->received = port->queued = 0;
    drop_all(at);
    return;
  }
  for (;;) {
    ssize_t got = read(port->fd, port->frame + port->received, sizeof port->frame - port->received);
    if (got <= 0) break;
    port->received += got;
    parse(at);
  }
  flush(port);
  if (port->queued > 0) return;
  for (other = 0; other < SESSIONS; other++)
    if (sessions[other].used && sessions[other].port == at) settle(&sessions[other]);
}

void sessions_open(int epoll) {
  char name[32];
  int at;
  poller = epoll;
  for (at = 0; at < PORTS; at++) {
    snprintf(name, sizeof name, "vmkit.exec.%d", at);
    ports[at].fd = port_open(name, O_RDWR | O_NONBLOCK);
    /* Edge-triggered, because a port that nobody holds is ready to tell so all the time. */
    if (ports[at].fd >= 0) watch(ports[at].fd, EPOLLIN | EPOLLOUT | EPOLLET, KEY_PORT + at);
  }
}

void sessions_ready(uint64_t key, uint32_t events) {
  struct session *session;
  int which;
  (void)events;
  if (key < KEY_SESSION) {
    serve_port(key - KEY_PORT);
    return;
  }
  session = &sessions[(key - KEY_SESSION) / 4];
  which = (key - KEY_SESSION) % 4;
  if (!session->used || session->port < 0) return;
  if (which == 2) push_input(session);
  else {
    pump(session, which);
    settle(session);
  }
}

int sessions_exited(pid_t pid, int status) {
  int at;
  for (at = 0; at < SESSIONS; at++) {
    if (!sessions[at].used || sessions[at].pid != pid) continue;
    sessions[at].exited = 1;
    sessions[at].status = status;
    group_remove(sessions[at].group);
    settle(&sessions[at]);
    return 1;
  }
  return 0;
}
