/* SPDX-License-Identifier: Apache-2.0 */
/* torch_ref.py as a child process: one command, one answer line. */
#include "bench_engine.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
    pid_t child;
    FILE *to;
    FILE *from;
    char version[64];
    char name[256];
} torch;

static void run_child(const int to_child[2], const int to_parent[2])
{
    (void)dup2(to_child[0], STDIN_FILENO); /* else it reads nothing and ends */
    (void)dup2(to_parent[1], STDOUT_FILENO);
    (void)close(to_child[1]);
    (void)close(to_parent[0]);
    (void)setenv("OPENBLAS_NUM_THREADS", "1", 1); /* two pools on the same cores hurt each other */
    execlp(options.python, options.python, BENCH_SOURCES "/torch_ref.py", (char *)NULL);
    _exit(127);
}

/* The next line of the child, without its end; false: it has gone. */
static bool answer(char *line, size_t size)
{
    if (!torch.from || !fgets(line, (int)size, torch.from)) {
        return false;
    }
    line[strcspn(line, "\n")] = 0;
    return true;
}

void torch_start(void)
{
    int to_child[2];
    int to_parent[2];
    (void)signal(SIGPIPE, SIG_IGN); /* a child that has gone is seen when it does not answer */
    if (pipe(to_child) || pipe(to_parent)) {
        die("no pipe");
    }
    torch.child = fork();
    if (torch.child < 0) {
        die("no process");
    }
    if (torch.child == 0) {
        run_child(to_child, to_parent);
    }
    (void)close(to_child[0]);
    (void)close(to_parent[1]);
    torch.to = fdopen(to_child[1], "w");
    torch.from = fdopen(to_parent[0], "r");
    if (!answer(torch.version, sizeof torch.version) || strncmp(torch.version, "torch ", 6) != 0) {
        fprintf(stderr, "bench_engine: %s has no torch; ratios are to sgemm only\n",
                options.python);
        torch_stop();
    }
}

void torch_stop(void)
{
    if (torch.to) {
        (void)fclose(torch.to); /* the child ends at the end of its input */
        (void)fclose(torch.from);
        (void)waitpid(torch.child, NULL, 0);
        torch.to = NULL;
        torch.from = NULL;
    }
}

bool torch_setup(const char *model, uint32_t batch, uint32_t threads)
{
    char line[128];
    if (!torch.to) {
        return false;
    }
    fprintf(torch.to, "setup %s %u %u %d\n", model, batch, threads, options.compile);
    (void)fflush(torch.to); /* a lost child does not answer */
    if (!answer(line, sizeof line) || strncmp(line, "ok ", 3) != 0) {
        fprintf(stderr, "bench_engine: torch has no %s: %s\n", model, line);
        return false;
    }
    (void)snprintf(torch.name, sizeof torch.name, "%s %s", torch.version, line + 3);
    return true;
}

const char *torch_name(void)
{
    return torch.name;
}

static double ask(const char *command)
{
    char line[128];
    fprintf(torch.to, "%s\n", command);
    (void)fflush(torch.to); /* as above */
    if (!answer(line, sizeof line)) {
        die("torch has gone");
    }
    return strtod(line, NULL);
}

double torch_train(double seconds, bool cpu)
{
    char command[64];
    (void)snprintf(command, sizeof command, "train %.3f %d", seconds, cpu);
    return ask(command);
}

double torch_infer(double seconds)
{
    char command[64];
    (void)snprintf(command, sizeof command, "infer %.3f", seconds);
    return ask(command);
}
