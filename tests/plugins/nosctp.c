/* Lets a daemon believe that it has SCTP where the kernel has none: its SCTP sockets become TCP.
 *
 * In charge of: message boundaries, which TCP lacks: each message goes with its length (four octets, network order) in
 * front. Not in charge of: streams, associations with several addresses, notifications. Built by osmo_msc.py with gcc and
 * preloaded into osmo-msc, whose SGs interface asks for nothing more.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define MAX_MESSAGE 65536

int socket(int domain, int type, int protocol)
{
	static int (*real)(int, int, int);
	if (!real)
		real = dlsym(RTLD_NEXT, "socket");
	if (protocol != IPPROTO_SCTP)
		return real(domain, type, protocol);
	return real(domain, (type & (SOCK_NONBLOCK | SOCK_CLOEXEC)) | SOCK_STREAM, IPPROTO_TCP);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
	static int (*real)(int, int, int, const void *, socklen_t);
	if (!real)
		real = dlsym(RTLD_NEXT, "setsockopt");
	return level == IPPROTO_SCTP ? 0 : real(fd, level, name, value, length);
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
	static int (*real)(int, int, int, void *, socklen_t *);
	if (!real)
		real = dlsym(RTLD_NEXT, "getsockopt");
	if (level != IPPROTO_SCTP)
		return real(fd, level, name, value, length);
	memset(value, 0, *length);
	return 0;
}

int sctp_bindx(int fd, struct sockaddr *addresses, int count, int flags)
{
	socklen_t length = addresses->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	return bind(fd, addresses, length);
}

int sctp_connectx(int fd, struct sockaddr *addresses, int count, void *id)
{
	socklen_t length = addresses->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	return connect(fd, addresses, length);
}

/* One whole message, or EAGAIN until all of it is there. */
int sctp_recvmsg(int fd, void *message, size_t room, struct sockaddr *from, socklen_t *from_length, void *info, int *flags)
{
	static unsigned char buffer[4 + MAX_MESSAGE];
	uint32_t length;
	ssize_t waiting = recv(fd, buffer, sizeof(buffer), MSG_PEEK | MSG_DONTWAIT);
	if (flags)
		*flags = MSG_EOR;
	if (waiting <= 0)
		return waiting;
	memcpy(&length, buffer, 4);
	length = ntohl(length);
	if (waiting < 4 || length > MAX_MESSAGE || length > room || (size_t)waiting < 4 + (size_t)length) {
		errno = length > MAX_MESSAGE || length > room ? EMSGSIZE : EAGAIN;
		return -1;
	}
	recv(fd, buffer, 4 + length, MSG_DONTWAIT);
	memcpy(message, buffer + 4, length);
	return length;
}

int sctp_sendmsg(int fd, const void *message, size_t length, struct sockaddr *to, socklen_t to_length, uint32_t ppid,
		 uint32_t flags, uint16_t stream, uint32_t ttl, uint32_t context)
{
	uint32_t head = htonl((uint32_t)length);
	struct iovec parts[2] = { { &head, 4 }, { (void *)message, length } };
	struct msghdr header = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t sent = sendmsg(fd, &header, MSG_NOSIGNAL);
	return sent < 0 ? sent : (int)length;
}

int sctp_send(int fd, const void *message, size_t length, const void *info, int flags)
{
	return sctp_sendmsg(fd, message, length, 0, 0, 0, 0, 0, 0, 0);
}
