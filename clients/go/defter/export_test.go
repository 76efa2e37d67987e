package defter

import "time"

// Leaving returns how many connections still have calls from before their files were replaced.
func Leaving(client *Client) int {
	client.conn.mutex.Lock()
	defer client.conn.mutex.Unlock()
	return len(client.conn.leaving)
}

// LookNow makes the next call look at the files of the proof.
func LookNow(client *Client) {
	client.conn.mutex.Lock()
	defer client.conn.mutex.Unlock()
	client.conn.lookedAt = time.Time{}
}
