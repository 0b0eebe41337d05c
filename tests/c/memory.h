/*
 * Memory and descriptors that run out: the n-th allocation of tun/csrc fails, for every n. Link with
 * WRAP_MEMORY of the Makefile; calls from inside libcrypto and libc are not touched, those of ours into
 * libcrypto are.
 */
#ifndef WGPY_TEST_MEMORY_H
#define WGPY_TEST_MEMORY_H

#include <dirent.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "harness.h"

static long memory_left = -1;  /* allocations that still succeed; -1: all */
static bool memory_stays_away; /* those behind the first that failed fail as well */
static int memory_failures;
static int memory_error; /* errno of the one that failed last; 0: none did */

static inline bool memory_fails(int error)
{
    if (memory_left < 0 || memory_left > 0) {
        memory_left -= memory_left > 0;
        return false;
    }
    memory_failures++;
    memory_left = memory_stays_away ? 0 : -1;
    memory_error = errno = error;
    return true;
}

#define WRAP(type, name, error, nothing, parameters, arguments)                                              \
    type __real_##name parameters;                                                                           \
    type __wrap_##name parameters;                                                                           \
    type __wrap_##name parameters                                                                            \
    {                                                                                                        \
        return memory_fails(error) ? nothing : __real_##name arguments;                                      \
    }

WRAP(void *, malloc, ENOMEM, NULL, (size_t size), (size))
WRAP(void *, calloc, ENOMEM, NULL, (size_t count, size_t size), (count, size))
WRAP(void *, aligned_alloc, ENOMEM, NULL, (size_t alignment, size_t size), (alignment, size))
WRAP(void *, mmap, ENOMEM, MAP_FAILED,
     (void *at, size_t size, int protection, int flags, int fd, off_t offset),
     (at, size, protection, flags, fd, offset))
WRAP(int, eventfd, EMFILE, -1, (unsigned int count, int flags), (count, flags))
WRAP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_new, ENOMEM, NULL, (void), ())
WRAP(EVP_MAC *, EVP_MAC_fetch, ENOMEM, NULL,
     (OSSL_LIB_CTX * library, const char *name, const char *properties), (library, name, properties))
WRAP(EVP_MAC_CTX *, EVP_MAC_CTX_new, ENOMEM, NULL, (EVP_MAC * algorithm), (algorithm))

WRAP(EVP_MD *, EVP_MD_fetch, ENOMEM, NULL, (OSSL_LIB_CTX * library, const char *name, const char *properties),
     (library, name, properties))
WRAP(EVP_MD_CTX *, EVP_MD_CTX_new, ENOMEM, NULL, (void), ())
WRAP(EVP_CIPHER *, EVP_CIPHER_fetch, ENOMEM, NULL,
     (OSSL_LIB_CTX * library, const char *name, const char *properties), (library, name, properties))
WRAP(EVP_PKEY_CTX *, EVP_PKEY_CTX_new_from_name, ENOMEM, NULL,
     (OSSL_LIB_CTX * library, const char *name, const char *properties), (library, name, properties))
WRAP(EVP_PKEY_CTX *, EVP_PKEY_CTX_new_from_pkey, ENOMEM, NULL,
     (OSSL_LIB_CTX * library, EVP_PKEY *key, const char *properties), (library, key, properties))
WRAP(EVP_PKEY *, EVP_PKEY_new_raw_private_key_ex, ENOMEM, NULL,
     (OSSL_LIB_CTX * library, const char *type, const char *properties, const unsigned char *key,
      size_t length),
     (library, type, properties, key, length))
WRAP(EVP_PKEY *, EVP_PKEY_new_raw_public_key_ex, ENOMEM, NULL,
     (OSSL_LIB_CTX * library, const char *type, const char *properties, const unsigned char *key,
      size_t length),
     (library, type, properties, key, length))

static inline int open_descriptors(void)
{
    DIR *all = opendir("/proc/self/fd");
    int count = 0;
    CHECK(all);
    while (readdir(all))
        count++;
    closedir(all);
    return count;
}

#endif
