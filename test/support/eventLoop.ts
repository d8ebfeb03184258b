export interface Pauses {
  /** Longest time between two turns of the event loop, in milliseconds. */
  longest: number;
  /** How often it turned. */
  turns: number;
}

/** Watches the event loop until the returned function is called. */
export function watchEventLoop(): () => Pauses {
  const pauses: Pauses = { longest: 0, turns: 0 };
  let last = performance.now();
  const see = (): void => {
    const now = performance.now();
    pauses.longest = Math.max(pauses.longest, now - last);
    last = now;
  };
  const timer = setInterval(() => {
    see();
    pauses.turns += 1;
  }, 1);
  timer.unref(); // a test that fails before the end shall not hold the process
  return () => {
    clearInterval(timer);
    see(); // a loop that was blocked to the end never came to its timer
    return pauses;
  };
}
