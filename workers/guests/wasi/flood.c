// Writes for ever, 4 KiB at a time. Nothing that it does itself ends it.
#include <string.h>
#include <unistd.h>

int main(void) {
    char block[4096];
    memset(block, 'x', sizeof block);
    for (;;)
        if (write(STDOUT_FILENO, block, sizeof block) != sizeof block)
            return 1;
}
