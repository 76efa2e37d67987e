package defter

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Proof names the files by which a caller knows the server, and proves who it is: by a certificate or by a token.
//
// Certificates that are replaced in their files count for new calls within seconds, a token at once.
type Proof struct {
	// AuthorityFile is PEM with the authorities of the server's certificate.
	AuthorityFile string
	// CertificateFile is PEM with the caller's certificate and those between it and its authority; empty for none.
	CertificateFile string
	// KeyFile is PEM with the key of that certificate.
	KeyFile string
	// TokenFile is the text of a token, which is read at each try; empty for none.
	TokenFile string
}

// ProofError says that the files of a proof do not go together, or that one of them can't be used.
type ProofError struct {
	// Field is the name in [Proof].
	Field string
	// Problem is what is wrong.
	Problem string
}

// Error returns field and problem.
func (e *ProofError) Error() string { return e.Field + ": " + e.Problem }

// check says whether the files go together.
func (p *Proof) check() error {
	switch {
	case p.AuthorityFile == "":
		return &ProofError{"AuthorityFile", "TLS needs the authorities of the server"}
	case p.CertificateFile == "" && p.KeyFile != "":
		return &ProofError{"KeyFile", "does nothing without its certificate"}
	case p.KeyFile == "" && p.CertificateFile != "":
		return &ProofError{"CertificateFile", "does nothing without its key"}
	case p.TokenFile != "" && p.CertificateFile != "":
		return &ProofError{"TokenFile", "a server takes a certificate or a token, not both"}
	}
	return nil
}

// contents are what the files of a proof say, in PEM.
type contents struct{ authority, certificate, key string }

// read returns what the files say now. A token is only tried, since it is read again at each try.
func (p *Proof) read() (contents, error) {
	var found contents
	if err := p.check(); err != nil {
		return found, err
	}
	var token string
	for _, each := range []struct {
		field, file string
		into        *string
	}{
		{"AuthorityFile", p.AuthorityFile, &found.authority},
		{"CertificateFile", p.CertificateFile, &found.certificate},
		{"KeyFile", p.KeyFile, &found.key},
		{"TokenFile", p.TokenFile, &token},
	} {
		if each.file == "" {
			continue
		}
		text, err := os.ReadFile(each.file)
		if err != nil {
			return found, &ProofError{each.field, fmt.Sprintf("%s: %v", each.file, cause(err))}
		}
		*each.into = string(text)
	}
	return found, nil
}

// cause leaves out the path, which is named already.
func cause(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// tls returns how to connect by what the files say.
func (p *Proof) tls(found contents) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM([]byte(found.authority)) {
		return nil, &ProofError{"AuthorityFile", p.AuthorityFile + ": no certificates in PEM"}
	}
	if p.CertificateFile == "" {
		return config, nil
	}
	pair, err := tls.X509KeyPair([]byte(found.certificate), []byte(found.key))
	if err != nil {
		return nil, &ProofError{"KeyFile", p.KeyFile + ": not the key of the certificate"}
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// stamps are what changes with each replaced file; it is cheaper than reading them.
type stamps [3]string

func (p *Proof) stamps() stamps {
	var found stamps
	for i, file := range []string{p.AuthorityFile, p.CertificateFile, p.KeyFile} {
		if info, err := os.Stat(file); err == nil {
			found[i] = fmt.Sprint(info.ModTime().UnixNano(), info.Size())
		}
	}
	return found
}
