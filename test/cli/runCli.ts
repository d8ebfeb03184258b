import { runCommandLine } from '../../lib/cli/program';

export interface CliResult {
  status: number;
  stdout: string;
  stderr: string;
}

/** Runs a command line in this process. */
export async function runCli(
  args: readonly string[],
  {
    signal = new AbortController().signal,
    env = {},
  }: { signal?: AbortSignal; env?: Record<string, string> } = {},
): Promise<CliResult> {
  let stdout = '';
  let stderr = '';
  const status = await runCommandLine(args, {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    interactive: false,
    signal,
    env,
  });
  return { status, stdout, stderr };
}
