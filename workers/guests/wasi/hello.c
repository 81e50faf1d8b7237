// The smallest program that uses everything a command is given: prints its arguments and the variable NAME, copies
// standard input in capitals, complains on standard error, and exits with as many as it had arguments.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    for (int i = 0; i < argc; i++)
        printf("argument %d: %s\n", i, argv[i]);
    const char *name = getenv("NAME");
    printf("NAME=%s\n", name ? name : "(unset)");
    for (int c; (c = getchar()) != EOF;)
        putchar(toupper(c));
    fputs("done\n", stderr);
    return argc;
}
