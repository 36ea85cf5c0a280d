"""`make soak`: a server under mixed load for as long as asked, with kills and other programs that write.

__main__  the run: server, clients, writers, kills, and what is measured    load    what one client does
outside   other programs that write into the directory
"""
