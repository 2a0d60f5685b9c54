/* The same echo server in C, shaped like one over epoll: non-blocking sockets, readiness, a loop. */
#include <pollux/sockets/px.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct client {
  int fd;
  size_t begin, end; /* what of `buffer` waits to be sent */
  char buffer[16384];
};

static void finish(struct client* c) {
  px_close(c->fd);
  free(c);
}

/* Sends what waits, reads more, until one of both would block. */
static void serve(struct client* c) {
  for (;;) {
    while (c->begin < c->end) {
      ssize_t n = px_send(c->fd, c->buffer + c->begin, c->end - c->begin, 0);
      if (n < 0 && errno == EAGAIN) {
        px_ctl(c->fd, PX_OUT, (uintptr_t)c);
        return;
      }
      if (n < 0) {
        finish(c);
        return;
      }
      c->begin += (size_t)n;
    }
    ssize_t n = px_recv(c->fd, c->buffer, sizeof c->buffer, 0);
    if (n < 0 && errno == EAGAIN) {
      px_ctl(c->fd, PX_IN, (uintptr_t)c);
      return;
    }
    if (n <= 0) {
      finish(c);
      return;
    }
    c->begin = 0;
    c->end = (size_t)n;
  }
}

static int core_main(void* arg) {
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(7)};
  struct px_event events[64];
  int listener = px_socket(AF_INET, SOCK_STREAM, 0);
  (void)arg;
  if (px_bind(listener, (struct sockaddr*)&any, sizeof any) != 0 || px_listen(listener, 1024) != 0) {
    perror("echo_epoll: listen");
    return 1;
  }
  px_ctl(listener, PX_IN, 0);
  for (;;) {
    int n = px_poll(events, 64, -1);
    if (n < 0) return errno == ESHUTDOWN ? 0 : 1;
    for (int i = 0; i < n; ++i) {
      struct client* c = (struct client*)(uintptr_t)events[i].data;
      if (c != NULL) {
        serve(c);
        continue;
      }
      for (int fd; (fd = px_accept(listener, NULL, NULL)) >= 0;) {
        if ((c = calloc(1, sizeof *c)) == NULL) {
          px_close(fd);
          continue;
        }
        c->fd = fd;
        px_ctl(fd, PX_IN, (uintptr_t)c);
      }
    }
  }
}

int main(int argc, char** argv) { return px_run(argc > 1 ? argv[1] : "l4echo.yaml", core_main, NULL) == 0 ? 0 : 1; }
