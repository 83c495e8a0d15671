// Preloaded into a server: each sync leaves a line in the file that SYNCED_NOTES names, and so says what a loss of power would leave:
//     <inode> <bytes>                 of a file: how long it was when the sync began
//     <inode>/ <name>=<inode> ...     of a directory: the names it had then. Its files are linked as SYNCED_NOTES.d/<inode>, so that what
//                                     a rename replaces can be had back
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void print_names(FILE *line, int directory, const char *notes) {
    DIR *names = fdopendir(openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct dirent *each;
    char link[4096];
    snprintf(link, sizeof link, "%s.d", notes);
    mkdir(link, 0700);
    while (names != NULL && (each = readdir(names)) != NULL) {
        struct stat status;
        if (!strcmp(each->d_name, ".") || !strcmp(each->d_name, "..") ||
            fstatat(directory, each->d_name, &status, AT_SYMLINK_NOFOLLOW))
            continue; // it has just gone
        snprintf(link, sizeof link, "%s.d/%lu", notes, status.st_ino);
        linkat(directory, each->d_name, AT_FDCWD, link, 0);
        fprintf(line, " %s=%lu", each->d_name, status.st_ino);
    }
    if (names != NULL)
        closedir(names);
}

static int noted(const char *name, int file) {
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *notes = getenv("SYNCED_NOTES");
    struct stat status;
    char *text = NULL;
    size_t length;
    if (notes == NULL || fstat(file, &status))
        return sync(file);
    FILE *line = open_memstream(&text, &length);
    if (S_ISDIR(status.st_mode)) {
        fprintf(line, "%lu/", status.st_ino);
        print_names(line, file, notes);
    } else
        fprintf(line, "%lu %lld", status.st_ino, (long long)status.st_size);
    fputc('\n', line);
    fclose(line);
    int failed = sync(file);
    if (!failed) {
        int out = open(notes, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (out < 0 || write(out, text, length) != (ssize_t)length)
            abort();
        close(out);
    }
    free(text);
    return failed;
}

int fdatasync(int file) { return noted("fdatasync", file); }
int fsync(int file) { return noted("fsync", file); }
