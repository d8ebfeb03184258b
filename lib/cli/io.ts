/** Where a command writes and what can stop it. Tests give it their own. */
export interface CommandIO {
  /** Results, and nothing else. */
  stdout: { write(text: string): unknown };
  /** Progress, notes and errors. */
  stderr: { write(text: string): unknown };
  /** Whether a person watches stderr: then there is a moving bar, else a line now and then. */
  interactive: boolean;
  /** Set by Ctrl-C. */
  signal: AbortSignal;
  /** Where DEBUG is looked up. */
  env: Readonly<Record<string, string | undefined>>;
}
