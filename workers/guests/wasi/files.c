// Works with files: copies in.txt to out.txt backwards, and on the way makes, lists, renames and removes others.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #what, strerror(errno)); \
            exit(1); \
        } \
    } while (0)

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *path) {
    char *names[64];
    size_t count = 0;
    DIR *directory = opendir(path);
    CHECK(directory);
    for (struct dirent *entry; count < 64 && (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            CHECK(names[count++] = strdup(entry->d_name));
    CHECK(closedir(directory) == 0);
    qsort(names, count, sizeof *names, by_name);
    printf("%s:", path);
    for (size_t i = 0; i < count; i++) {
        printf(" %s", names[i]);
        free(names[i]);
    }
    printf("\n");
}

int main(void) {
    static char text[1 << 16];
    FILE *in = fopen("in.txt", "r");
    CHECK(in);
    size_t size = fread(text, 1, sizeof text, in);
    CHECK(!ferror(in) && fclose(in) == 0);

    struct stat status;
    CHECK(stat("/in.txt", &status) == 0 && S_ISREG(status.st_mode) && (size_t)status.st_size == size);
    CHECK(stat("missing.txt", &status) == -1 && errno == ENOENT);

    CHECK(mkdir("made", 0777) == 0);
    CHECK(mkdir("made", 0777) == -1 && errno == EEXIST);
    FILE *out = fopen("made/draft.txt", "w");
    CHECK(out);
    for (size_t i = size; i-- > 0;)
        CHECK(fputc(text[i], out) != EOF);
    CHECK(fclose(out) == 0);
    CHECK(access("made/draft.txt", R_OK | W_OK) == 0);

    int file = open("log.txt", O_CREAT | O_EXCL | O_RDWR | O_APPEND, 0666);
    CHECK(file >= 0 && !isatty(file) && !isatty(STDOUT_FILENO));
    CHECK(write(file, "one ", 4) == 4 && lseek(file, 0, SEEK_SET) == 0 && write(file, "two", 3) == 3);
    CHECK(pread(file, text, 7, 0) == 7 && memcmp(text, "one two", 7) == 0);
    CHECK(ftruncate(file, 3) == 0 && fstat(file, &status) == 0 && status.st_size == 3);
    CHECK(close(file) == 0);
    CHECK(open("log.txt", O_CREAT | O_EXCL | O_RDWR, 0666) == -1 && errno == EEXIST);

    CHECK(symlink("made/draft.txt", "short") == 0);
    CHECK(lstat("short", &status) == 0 && S_ISLNK(status.st_mode));
    CHECK(stat("short", &status) == 0 && S_ISREG(status.st_mode));
    CHECK(link("made/draft.txt", "same.txt") == 0 && stat("same.txt", &status) == 0 && status.st_nlink == 2);
    list(".");
    list("/made");

    CHECK(rmdir("made") == -1 && errno == ENOTEMPTY);
    CHECK(rename("made/draft.txt", "out.txt") == 0);
    CHECK(rmdir("made") == 0 && unlink("short") == 0 && unlink("same.txt") == 0 && unlink("log.txt") == 0);
    CHECK(open("../outside", O_RDONLY) == -1);
    list("/");
    return 0;
}
