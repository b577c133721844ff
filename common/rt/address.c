/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the two questions asked about an address before gRPC gets it. Threads: any. */
#include "rt/cq_priv.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#define MAX_HOST_BYTES 255

/* Splits "host:port" and "[host]:port"; false when there is no such shape. */
static bool split(const char *address, char host[static MAX_HOST_BYTES + 1], unsigned *ret_port)
{
    const char *colon = strrchr(address, ':');
    if (!colon) {
        return false;
    }
    const char *begin = address;
    const char *end = colon;
    if (*begin == '[') {
        if (end - begin < 2 || end[-1] != ']') {
            return false;
        }
        begin++;
        end--;
    } else if (memchr(begin, ':', (size_t)(end - begin))) {
        return false; /* IPv6 needs its brackets */
    }
    const size_t n = (size_t)(end - begin);
    if (n == 0 || n > MAX_HOST_BYTES) {
        return false;
    }
    unsigned port = 0;
    size_t digits = 0;
    for (const char *p = colon + 1; *p; p++, digits++) {
        if (*p < '0' || *p > '9' || digits >= 5) {
            return false;
        }
        port = port * 10 + (unsigned)(*p - '0');
    }
    if (digits == 0 || port > 65535) {
        return false;
    }
    memcpy(host, begin, n);
    host[n] = 0;
    *ret_port = port;
    return true;
}

bool weft_rt_address_valid(const char *address)
{
    char host[MAX_HOST_BYTES + 1];
    unsigned port = 0;
    return strncmp(address, "unix:", 5) == 0 ? address[5] != 0 : split(address, host, &port);
}

bool weft_rt_address_loopback(const char *address)
{
    char host[MAX_HOST_BYTES + 1];
    unsigned port = 0;
    if (strncmp(address, "unix:", 5) == 0) {
        return address[5] != 0;
    }
    if (!split(address, host, &port)) {
        return false;
    }
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return (ntohl(v4.s_addr) >> 24) == 127;
    }
    struct in6_addr v6;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}
