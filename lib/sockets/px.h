/* Pollux in C: BSD-shaped, non-blocking sockets and an event poll over one core's stack. What is not said here is as with
 * Linux: calls return -1 and set errno, with its codes.
 *
 * px_run() starts the stack and calls `core_main` on every polling core, each a thread of its own, pinned; there it opens
 * sockets and loops over px_poll(), which is what moves packets. Sockets belong to the core that opened them: another
 * thread's calls fail with EPERM. Every core listens for itself and accepts the connections that its queue brings.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PX_API __attribute__((visibility("default")))
#else
#define PX_API
#endif

/* Readiness, with the values of <sys/epoll.h>. PX_ERR and PX_HUP need not be asked for. */
enum { PX_IN = 0x001, PX_OUT = 0x004, PX_ERR = 0x008, PX_HUP = 0x010, PX_RDHUP = 0x2000 };

struct px_event {
  uint32_t events;
  uint64_t data; /* what px_ctl() was given */
};

/* Starts EAL, ports and stacks from a YAML file and runs core_main(arg) on each polling core. Returns after all have returned
 * and the connections that were left are closed or, after drain_timeout, reset: 0, or -1 with the reason on stderr (a mistake
 * in the file, a port that is missing, connections that had to be reset, a core_main that did not return 0). Once a process. */
PX_API int px_run(const char* config_file, int (*core_main)(void* arg), void* arg);

/* AF_INET or AF_INET6; SOCK_STREAM or SOCK_DGRAM, SOCK_NONBLOCK and SOCK_CLOEXEC are implied; protocol 0. Descriptors are no
 * kernel descriptors; they begin at PX_FD_FIRST. EMFILE after PX_FD_MAX of them. */
#define PX_FD_FIRST 0x100000
#define PX_FD_MAX 0x40000
PX_API int px_socket(int domain, int type, int protocol);
PX_API int px_bind(int fd, const struct sockaddr* address, socklen_t length);
/* `backlog`: connections that wait to be accepted; further ones are reset. */
PX_API int px_listen(int fd, int backlog);
PX_API int px_accept(int fd, struct sockaddr* address, socklen_t* length);
/* A stream is EINPROGRESS; it is PX_OUT once it is open, and SO_ERROR says what became of it. */
PX_API int px_connect(int fd, const struct sockaddr* address, socklen_t length);

/* Flags: MSG_DONTWAIT and MSG_NOSIGNAL are implied; recv knows MSG_PEEK and, for datagrams, MSG_TRUNC; others are
 * EOPNOTSUPP. There is no SIGPIPE. */
PX_API ssize_t px_recv(int fd, void* buffer, size_t length, int flags);
PX_API ssize_t px_recvfrom(int fd, void* buffer, size_t length, int flags, struct sockaddr* address, socklen_t* address_length);
PX_API ssize_t px_send(int fd, const void* buffer, size_t length, int flags);
PX_API ssize_t px_sendto(int fd, const void* buffer, size_t length, int flags, const struct sockaddr* address,
                         socklen_t address_length);
PX_API ssize_t px_read(int fd, void* buffer, size_t length);
PX_API ssize_t px_write(int fd, const void* buffer, size_t length);
PX_API ssize_t px_readv(int fd, const struct iovec* pieces, int count);
PX_API ssize_t px_writev(int fd, const struct iovec* pieces, int count);

PX_API int px_shutdown(int fd, int how);
PX_API int px_close(int fd);
PX_API int px_getsockname(int fd, struct sockaddr* address, socklen_t* length);
PX_API int px_getpeername(int fd, struct sockaddr* address, socklen_t* length);
/* SOL_SOCKET: SO_ERROR, SO_TYPE, SO_DOMAIN, SO_ACCEPTCONN (get); SO_KEEPALIVE, SO_LINGER, SO_REUSEADDR and SO_REUSEPORT
 * (which ask for what is so anyway: TIME-WAIT keeps nobody from listening, and every core may listen on a port).
 * IPPROTO_TCP: TCP_NODELAY, TCP_CORK, TCP_QUICKACK. IPPROTO_IPV6: IPV6_V6ONLY, before px_listen(). Others are
 * ENOPROTOOPT. */
PX_API int px_setsockopt(int fd, int level, int name, const void* value, socklen_t length);
PX_API int px_getsockopt(int fd, int level, int name, void* value, socklen_t* length);

/* Which events of `fd` px_poll() shall report, with `data`; 0: none. Level-triggered, like epoll without EPOLLET. */
PX_API int px_ctl(int fd, uint32_t events, uint64_t data);
/* Moves packets until at least one descriptor is ready or `timeout_ms` is over (0: one turn; -1: no limit), and sleeps
 * meanwhile as the configuration's idle policy says. Returns how many of `events` were filled. ESHUTDOWN: the program was
 * told to end (SIGTERM) and its connections are closed, or the drain's time is over: return from core_main. */
PX_API int px_poll(struct px_event* events, int max, int timeout_ms);
/* Not 0 once the program was told to end: nothing new is accepted, and connections should be brought to their end. */
PX_API int px_is_draining(void);
/* Nanoseconds, monotonic: the time of the last px_poll(). */
PX_API uint64_t px_now(void);

#ifdef __cplusplus
}
#endif
